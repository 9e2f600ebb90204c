"""Stream an answer with OpenAI's own client; nothing here knows of Millrace.

Run:  OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=$(cat .millrace/dev-key) \
          python examples/openai_chat.py "Why do rivers meander?"
"""

import os
import sys

from openai import OpenAI


def main() -> None:
    """Ask one question and print the answer as it comes."""
    question = " ".join(sys.argv[1:]) or "Why do rivers meander?"
    model = os.environ.get("MODEL", "millrace-demo")
    client = OpenAI()
    with client.chat.completions.with_raw_response.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        stream=True,
        stream_options={"include_usage": True},
    ).parse() as stream:
        for chunk in stream:
            for choice in chunk.choices:
                print(choice.delta.content or "", end="", flush=True)
            if chunk.usage is not None:
                print(f"\n[{chunk.model}, {chunk.usage.completion_tokens} tokens]")
        print(f"request id: {stream.response.headers['x-request-id']}")


if __name__ == "__main__":
    main()
