"""OpenAI's own client in the hands of a user: one of the scenarios below, and what it saw as JSON.

Reads OPENAI_BASE_URL and OPENAI_API_KEY as the client itself does. The first argument is the scenario, the
second one, if any, its input as JSON. The client is as it is installed but for two settings of its own: it
checks every answer against its types instead of taking whatever comes, and makes a call once.
"""

import asyncio
import json
import sys

import openai

STRICT = {"_strict_response_validation": True, "max_retries": 0}
QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}},
            "required": ["place"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


def told(error):
    """What a user can read from an error."""
    seen = {"class": type(error).__name__, "text": str(error)}
    for name in ("status_code", "code", "param", "type", "message"):
        seen[name] = getattr(error, name, None)
    response = getattr(error, "response", None)
    if response is not None:
        seen["retry_after"] = response.headers.get("retry-after")
        seen["content_type"] = response.headers.get("content-type")
    return seen


def attempt(call):
    try:
        call()
    except openai.OpenAIError as error:
        return told(error)
    return None


def chat(client, request):
    raw = client.chat.completions.with_raw_response.create(messages=QUESTION, **request)
    return {"answer": raw.parse().to_dict(mode="json"), "run": raw.headers.get("x-arbiter-run")}


def chat_async(_, request):
    async def both():
        async with openai.AsyncOpenAI(**STRICT) as client:
            whole = await client.chat.completions.create(messages=QUESTION, **request)
            stream = await client.chat.completions.create(messages=QUESTION, stream=True, **request)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return {"whole": whole.choices[0].message.content, "streamed": "".join(pieces)}

    return asyncio.run(both())


def stream(client, request):
    chunks = client.chat.completions.create(messages=QUESTION, stream=True, **request)
    return [chunk.to_dict(mode="json") for chunk in chunks]


def tools(client, request):
    """A call of a tool, its result, and the answer to that; whole, then the same as streams."""

    def whole(messages):
        return client.chat.completions.create(messages=messages, tools=[WEATHER], **request).choices[0]

    def streamed(messages):
        with client.chat.completions.stream(messages=messages, tools=[WEATHER], **request) as events:
            done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
            choice = events.get_final_completion().choices[0]
        assert len(done) == len(choice.message.tool_calls or []), done
        return choice

    def conversation(ask):
        messages = list(QUESTION)
        first = ask(messages)
        calls = first.message.tool_calls or []
        messages.append(first.message)
        for call in calls:
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "Rain."})
        second = ask(messages)
        return {
            "calls": [[call.id, call.function.name, json.loads(call.function.arguments)] for call in calls],
            "reasons": [first.finish_reason, second.finish_reason],
            "answer": second.message.content,
        }

    return [conversation(whole), conversation(streamed)]


def models(client, names):
    listed = [model.to_dict(mode="json") for model in client.models.list()]
    return {"listed": listed, "found": [client.models.retrieve(name).to_dict(mode="json") for name in names]}


def errors(client, requests):
    """What each of these requests fails with; one with a field `api_key` is made with that key."""
    seen = []
    for request in requests:
        key = request.pop("api_key", None)
        with_key = client.with_options(api_key=key) if key else client
        fields = {"messages": QUESTION, **request}

        def call(client=with_key, fields=fields):
            answer = client.chat.completions.create(**fields)
            if fields.get("stream"):
                list(answer)

        seen.append(attempt(call))
    return seen


def patient(_, request):
    """The client as it is, which makes a refused call again when it is told to."""
    return openai.OpenAI().chat.completions.create(messages=QUESTION, **request).choices[0].message.content


def main():
    scenario = globals()[sys.argv[1]]
    given = json.loads(sys.argv[2]) if len(sys.argv) > 2 else None
    with openai.OpenAI(**STRICT) as client:
        print(json.dumps(scenario(client, given)))


if __name__ == "__main__":
    main()
