"""Temporal's own client in the hands of a stranger: the steps below, one after the other, and what each of
them saw as JSON.

Reads TEMPORAL_ADDRESS, and CODEC_ENDPOINT with CODEC_TOKEN: with these, whatever is sent and read goes
through that remote codec; without them, everything goes as it is. The first argument is a list of steps,
each an object with the step's name in `do` and what it takes; a step that fails is seen as its `error`.
"""

import asyncio
import base64
import json
import os
import sys
import urllib.error
import urllib.request
from datetime import timedelta

from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RawValue, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.converter import DataConverter, DefaultFailureConverterWithEncodedAttributes, PayloadCodec

PATIENCE = timedelta(seconds=30)
LOOK = 0.05


class RemoteCodec(PayloadCodec):
    """Temporal's remote codec protocol, over HTTP with a bearer token."""

    def __init__(self, endpoint, token):
        self.endpoint = endpoint
        self.token = token

    async def encode(self, payloads):
        return await asyncio.to_thread(self.turned, "encode", payloads)

    async def decode(self, payloads):
        return await asyncio.to_thread(self.turned, "decode", payloads)

    def turned(self, way, payloads):
        def text(data):
            return base64.b64encode(data).decode()

        body = [
            {"metadata": {name: text(value) for name, value in one.metadata.items()}, "data": text(one.data)}
            for one in payloads
        ]
        request = urllib.request.Request(
            f"{self.endpoint}/{way}",
            json.dumps({"payloads": body}).encode(),
            {"authorization": f"Bearer {self.token}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return [payload(one) for one in json.load(answer)["payloads"]]


def payload(given):
    """A payload of the metadata and data of this, all in base64."""
    metadata = {name: base64.b64decode(value) for name, value in given.get("metadata", {}).items()}
    return Payload(metadata=metadata, data=base64.b64decode(given.get("data", "")))


def arguments(step):
    """What is sent: `args`, each as JSON, or `payloads`, each as it is; nothing when there is neither."""
    if "payloads" in step:
        return [RawValue(payload(one)) for one in step["payloads"]]
    return step.get("args", [])


def handle(client, step):
    return client.get_workflow_handle(step["id"], run_id=step.get("run"))


async def start(client, step):
    """Starts a workflow; answers with its run."""
    started = await client.start_workflow(
        step["type"],
        args=arguments(step),
        id=step["id"],
        task_queue=step.get("queue", "arbiter-control"),
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        id_conflict_policy=WorkflowIDConflictPolicy[step.get("conflict", "FAIL")],
    )
    return started.first_execution_run_id or started.result_run_id


async def result(client, step):
    """Waits for the end of a run."""
    return await asyncio.wait_for(handle(client, step).result(), PATIENCE.total_seconds())


async def query(client, step):
    return await handle(client, step).query(step["name"], *step.get("args", []), rpc_timeout=PATIENCE)


async def until(client, step):
    """Asks until the answer is `wanted`."""
    deadline = asyncio.get_running_loop().time() + PATIENCE.total_seconds()
    while (seen := await query(client, step)) != step["wanted"]:
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"{step} is still {seen}")
        await asyncio.sleep(LOOK)
    return seen


async def signal(client, step):
    await handle(client, step).signal(step["name"], args=arguments(step))


async def update(client, step):
    wanted = {"id": step.get("update_id"), "rpc_timeout": PATIENCE}
    return await handle(client, step).execute_update(step["name"], args=arguments(step), **wanted)


async def both(client, step):
    """Several steps at one time."""
    return await asyncio.gather(*(seen(client, one) for one in step["steps"]))


async def terminate(client, step):
    await handle(client, step).terminate(step.get("reason"))


async def describe(client, step):
    found = await handle(client, step).describe()
    attributes = {pair.key.name: pair.value for pair in found.typed_search_attributes}
    return {
        "type": found.workflow_type,
        "status": found.status.name,
        "queue": found.task_queue,
        "run": found.run_id,
        "attributes": attributes,
        "memo": dict(await found.memo()),
    }


async def listed(client, step):
    """The ids that a query of Temporal's finds."""
    return sorted([one.id async for one in client.list_workflows(step["query"])])


async def count(client, step):
    return (await client.count_workflows(step["query"])).count


async def history(client, step):
    """The types of the events of a history."""
    events = (await handle(client, step).fetch_history()).events
    return [event.WhichOneof("attributes").removesuffix("_event_attributes") for event in events]


STEPS = [start, result, query, until, signal, update, both, terminate, describe, listed, count, history]


def told(error):
    """What a user can read from an error: its class and text, and the text of its innermost cause."""
    cause = error
    while getattr(cause, "cause", None) or cause.__cause__:
        cause = getattr(cause, "cause", None) or cause.__cause__
    seen = {"class": type(error).__name__, "text": str(error), "cause": str(cause)}
    if isinstance(error, WorkflowFailureError):
        seen["is"] = type(error.cause).__name__
    return {"error": seen}


async def seen(client, step):
    steps = {one.__name__: one for one in STEPS}
    try:
        return await steps[step["do"]](client, step)
    except Exception as error:  # all of them are what the user sees
        return told(error)


async def main():
    codec = None
    if "CODEC_ENDPOINT" in os.environ:
        codec = RemoteCodec(os.environ["CODEC_ENDPOINT"], os.environ["CODEC_TOKEN"])
    converter = DataConverter(
        payload_codec=codec,
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"], data_converter=converter)
    print(json.dumps([await seen(client, step) for step in json.loads(sys.argv[1])]))


if __name__ == "__main__":
    asyncio.run(main())
    # The client's own threads outlive it, and now and then break the interpreter when that ends in order.
    sys.stdout.flush()
    os._exit(0)
