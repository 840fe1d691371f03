#!/usr/bin/env python3
"""OpenAI's official client at Arbiter's gateway: one whole answer and one streamed.

    pip install openai
    ARBITER_URL=http://127.0.0.1:8080 ARBITER_TOKEN=arb_... python3 examples/openai_client.py "Say hello."

A second argument names the model (default: `auto`, the best provider's own): `MODEL` or `PROVIDER/MODEL`.
"""

import os
import sys

try:
    import openai
except ImportError:
    sys.exit("error: the package openai is not installed; run: pip install openai")


def variable(name):
    """The value of an environment variable; ends the program if it is not set."""
    return os.environ.get(name) or sys.exit(f"error: {name} is not set")


def main():
    if len(sys.argv) < 2:
        sys.exit("error: no question given; usage: openai_client.py QUESTION [MODEL]")
    question = [{"role": "user", "content": sys.argv[1]}]
    model = sys.argv[2] if len(sys.argv) > 2 else "auto"
    client = openai.OpenAI(base_url=variable("ARBITER_URL") + "/v1", api_key=variable("ARBITER_TOKEN"))

    answer = client.chat.completions.create(model=model, messages=question)
    print(f"{answer.model}: {answer.choices[0].message.content}")

    print("streamed: ", end="")
    for chunk in client.chat.completions.create(model=model, messages=question, stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            print(chunk.choices[0].delta.content, end="", flush=True)
    print()


if __name__ == "__main__":
    try:
        main()
    except openai.OpenAIError as error:
        sys.exit(f"error: {error}")
