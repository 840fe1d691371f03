"""Anthropic's own client in the hands of a user: one of the scenarios below, and what it saw as JSON.

Reads ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY as the client itself does. The first argument is the scenario.
The client checks every answer against its types instead of taking whatever comes, and makes a call once.
"""

import json
import sys

import anthropic

REQUEST = {"model": "claude-scripted", "max_tokens": 100}
QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]
WEATHER = {
    "name": "weather",
    "description": "The weather of a place.",
    "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}


def message(client):
    return client.messages.create(messages=QUESTION, **REQUEST).to_dict(mode="json")


def events(client):
    """The events one by one, as they came."""
    stream = client.messages.create(messages=QUESTION, stream=True, **REQUEST)
    return [event.to_dict(mode="json") for event in stream]


def stream(client):
    """The message that the client puts together from the events, and the text as it came."""
    with client.messages.stream(messages=QUESTION, **REQUEST) as stream:
        text = list(stream.text_stream)
        return {"text": text, "message": stream.get_final_message().to_dict(mode="json")}


def tools(client):
    """A call of a tool, its result, and the answer to that; whole, then the same as streams."""

    def whole(messages):
        return client.messages.create(messages=messages, tools=[WEATHER], **REQUEST)

    def streamed(messages):
        with client.messages.stream(messages=messages, tools=[WEATHER], **REQUEST) as stream:
            return stream.get_final_message()

    def conversation(ask):
        first = ask(QUESTION)
        calls = [block for block in first.content if block.type == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "Rain."} for call in calls]
        turns = [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
        second = ask(QUESTION + turns)
        return {
            "calls": [[call.id, call.name, call.input] for call in calls],
            "reasons": [first.stop_reason, second.stop_reason],
            "answer": second.content[0].text,
        }

    return [conversation(whole), conversation(streamed)]


def models(client):
    return [model.to_dict(mode="json") for model in client.models.list(limit=1000)]


def told(error):
    """What a user can read from an error."""
    seen = {"class": type(error).__name__, "text": str(error)}
    for name in ("status_code", "type", "body"):
        seen[name] = getattr(error, name, None)
    return seen


def errors(client):
    """What a message at each of the further addresses fails with."""
    seen = []
    for base_url in sys.argv[2:]:
        try:
            message(client.with_options(base_url=base_url))
            seen.append(None)
        except anthropic.AnthropicError as error:
            seen.append(told(error))
    return seen


def stream_error(client):
    """What a stream fails with, after how many events."""
    count = 0
    try:
        for _ in client.messages.create(messages=QUESTION, stream=True, **REQUEST):
            count += 1
    except anthropic.AnthropicError as error:
        return {**told(error), "events": count}
    return {"class": None, "events": count}


def main():
    with anthropic.Anthropic(_strict_response_validation=True, max_retries=0) as client:
        print(json.dumps(globals()[sys.argv[1]](client)))


if __name__ == "__main__":
    main()
