"""OpenAI's official Python client, unmodified, against the live stack."""

import asyncio
import base64
import json
import struct
import time
import uuid
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.support.asking import FAST, ask, content, text_of, unique, user
from tests.support.stack import RunningStack, wait_until

FRESH = {"cache-control": "no-cache, no-store"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city", "days"],
        },
    },
}
HOSTILE = "a\r\n\ndata: [DONE]\n\nb\u2028c\u2029d\u0085e\0f\x1bg\U0001f40bh\\u2028"


# -- answers --------------------------------------------------------------------------------------


def test_a_chat_is_answered(client: OpenAI) -> None:
    """Text, finish reason, usage that adds up, and ids."""
    answer = ask(client)
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.choices[0].finish_reason == "stop"
    assert len(content(answer)) > 20
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id.startswith("req_")
    assert abs(answer.created - time.time()) < 60


@pytest.mark.parametrize("include_usage", [False, True])
def test_a_streamed_answer_is_the_answer(client: OpenAI, *, include_usage: bool) -> None:
    """The same text as in one piece; one id in all chunks; usage once, if and only if asked for."""
    asked: dict[str, Any] = {"messages": user(unique()), "extra_headers": FRESH}
    whole = ask(client, **asked)
    options = {"stream_options": {"include_usage": True}} if include_usage else {}
    chunks = list(ask(client, **asked, **options, stream=True))
    assert text_of(chunks) == content(whole)
    assert len(chunks) > 5
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert (reasons[-1], set(reasons[:-1])) == ("stop", {None})
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    assert usages == ([whole.usage] if include_usage else [])
    assert bool(chunks[-1].choices) != include_usage, "the usage chunk has no choices"


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices_are_told_apart(client: OpenAI, *, stream: bool) -> None:
    """Each has its index, its text and its end."""
    answer = ask(client, n=2, stream=stream)
    if stream:
        chunks = list(answer)
        texts = [text_of(chunks, choice) for choice in range(2)]
        ends = [c.index for chunk in chunks for c in chunk.choices if c.finish_reason == "stop"]
        assert sorted(ends) == [0, 1]
    else:
        texts = [content(answer, choice) for choice in range(2)]
    assert all(texts)


@pytest.mark.parametrize("stream", [False, True])
def test_whatever_a_text_contains_arrives_intact(client: OpenAI, *, stream: bool) -> None:
    """Line ends of every kind, a forged end of the stream, control characters, a whale."""
    answer = ask(client, model="sim-fast:echo", messages=user(HOSTILE), stream=stream)
    assert (text_of(answer) if stream else content(answer)) == HOSTILE


@pytest.mark.parametrize("stream", [False, True])
def test_tools_pass_through(client: OpenAI, *, stream: bool) -> None:
    """The call comes with valid arguments; its result is answered in words."""
    asked: dict[str, Any] = {"messages": user(unique("use get_weather")), "tools": [WEATHER]}
    if stream:
        with client.chat.completions.stream(model=FAST, **asked) as events:
            called: Any = events.get_final_completion()
    else:
        called = ask(client, **asked)
    choice = called.choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.function.name == "get_weather"
    arguments = json.loads(call.function.arguments)
    assert {name: type(value) for name, value in arguments.items()} == {"city": str, "days": int}
    asked["messages"] += [
        {"role": "assistant", "tool_calls": [call.to_dict()]},
        {"role": "tool", "tool_call_id": call.id, "content": "4 °C"},
    ]
    assert ask(client, **asked).choices[0].finish_reason == "stop"


class Forecast(BaseModel):
    """What a model is asked to fill."""

    city: str
    highs: list[float]
    is_certain: bool


def test_a_schema_is_filled(client: OpenAI) -> None:
    """The client's own ``parse`` sends a JSON Schema and reads an instance back."""
    answer = client.chat.completions.parse(
        model=FAST,
        messages=user(unique()),  # type: ignore[arg-type]  # plain dictionaries
        response_format=Forecast,
    )
    assert isinstance(answer.choices[0].message.parsed, Forecast)


def test_pictures_and_developer_messages_are_accepted(client: OpenAI) -> None:
    """Content parts and every role of a conversation pass."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": unique("What is this?")}, picture]},
        {"role": "assistant", "content": "A whale.", "refusal": None},
        {"role": "user", "content": "Sure?"},
    ]
    assert content(ask(client, messages=messages))


def test_parameters_of_tomorrow_pass(client: OpenAI, stack: RunningStack) -> None:
    """A field that the gateway does not know reaches the provider and parts the cache."""
    model = "sim-fast:tokens=17"
    prompt = user(unique())
    before = len(stack.calls(model))
    for effort in (1, 2, 1):
        ask(client, model=model, messages=prompt, extra_body={"new_dial": effort})
    calls = len(stack.calls(model)) - before
    assert calls in {2, 3}, "two different requests, and one that the cache may have answered"


@pytest.mark.parametrize("stream", [False, True])
def test_completions_answer_each_prompt(client: OpenAI, *, stream: bool) -> None:
    """A list of prompts gets a choice for each, in order."""
    prompts = [unique("one"), unique("two")]
    asked: dict[str, Any] = {"model": "sim-fast:tokens=5", "prompt": prompts, "max_tokens": 9}
    answer: Any = client.completions.create(**asked, stream=stream)
    texts = ["", ""]
    for part in answer if stream else [answer]:
        assert part.object == "text_completion"
        for choice in part.choices:
            texts[choice.index] += choice.text
    alone = [client.completions.create(**asked | {"prompt": prompt}) for prompt in prompts]
    assert texts == [each.choices[0].text for each in alone]


def test_embeddings_are_alike_in_every_form(client: OpenAI) -> None:
    """Floats, base64 and the client's own choice carry the same vectors, alone and in a list."""
    texts = [unique("a cat on a mat"), unique("stock prices fell")]
    usual = client.embeddings.create(model="millrace-embed", input=texts)
    assert [item.index for item in usual.data] == [0, 1]
    assert usual.usage.prompt_tokens == usual.usage.total_tokens > 0
    floats = client.embeddings.create(model="millrace-embed", input=texts, encoding_format="float")
    packed = client.embeddings.create(
        model="millrace-embed", input=texts[1], encoding_format="base64"
    )
    vector = struct.unpack("<384f", base64.b64decode(str(packed.data[0].embedding)))
    assert list(vector) == pytest.approx(floats.data[1].embedding, abs=1e-6)
    assert usual.data[1].embedding == pytest.approx(floats.data[1].embedding, abs=1e-6)


def test_local_embeddings_say_what_texts_mean(client: OpenAI) -> None:
    """Real vectors without a key: what means the same is close, in whatever words it is said."""
    texts = ["How do I reset my password?", "I forgot my login, let me in", "Bake bread at 230 °C"]
    answer = client.embeddings.create(model="local/minilm", input=texts)
    question, same, other = (item.embedding for item in answer.data)
    assert len(question) == 384

    def similarity(one: list[float], two: list[float]) -> float:
        return sum(a * b for a, b in zip(one, two, strict=True))

    assert similarity(question, question) == pytest.approx(1, abs=1e-5)
    assert similarity(question, same) > 0.4
    assert similarity(question, other) < 0.2
    with pytest.raises(openai.BadRequestError, match="tokens"):
        client.embeddings.create(model="local/minilm", input="word " * 300)


def test_token_ids_are_embedded(client: OpenAI) -> None:
    """One text as ids, several as lists of ids; dimensions as asked for."""
    one = client.embeddings.create(model="millrace-embed", input=[1, 2, 3], dimensions=16)
    assert [len(item.embedding) for item in one.data] == [16]
    two = client.embeddings.create(model="millrace-embed", input=[[1, 2], [3]])
    assert len(two.data) == 2


def test_models_are_listed_and_retrieved(client: OpenAI) -> None:
    """Named ones are listed; whatever may be asked for can be retrieved."""
    named = {"local/minilm", "millrace-demo", "millrace-embed"}
    assert {model.id for model in client.models.list()} == named
    assert client.models.retrieve("millrace-demo").object == "model"
    assert client.models.retrieve("sim-fast:tokens=5").id == "sim-fast:tokens=5"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-nothing")


# -- headers, cache, concurrency ------------------------------------------------------------------


def test_headers_say_how_an_answer_came_about(client: OpenAI) -> None:
    """Request id, cache, route and attempts, of whole answers and of streams."""
    raw = client.chat.completions.with_raw_response
    for stream in (False, True):
        asked: dict[str, Any] = {"model": FAST, "messages": user(unique()), "stream": stream}
        response = raw.create(**asked, extra_headers=FRESH)
        headers = response.headers
        assert headers["x-request-id"].startswith("req_")
        assert headers["x-cache"] == "bypass"
        assert headers["x-millrace-route-target"] == "simulator/sim-fast"
        assert headers["x-millrace-attempts"] == "1"
        assert int(headers["openai-processing-ms"]) >= 0
        parsed = response.parse()
        if stream:
            assert headers["content-type"].startswith("text/event-stream")
            assert text_of(parsed)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_kept_and_given_again(
    client: OpenAI, stack: RunningStack, *, stream: bool
) -> None:
    """Asked again, whole or streamed, the same words come from the cache, under a new id."""
    model = f"sim-fast:tokens={uuid.uuid4().int % 200 + 10}"
    asked: dict[str, Any] = {"model": model, "messages": user(unique())}
    raw = client.chat.completions.with_raw_response
    if stream:
        first_chunks = list(raw.create(**asked, stream=True).parse())
        first_id, first = first_chunks[0].id, text_of(first_chunks)
    else:
        answer = raw.create(**asked).parse()
        first_id, first = answer.id, content(answer)

    def again(*, streamed: bool) -> Any:
        return raw.create(**asked, stream=streamed)

    wait_until(lambda: again(streamed=False).headers["x-cache"] == "exact_hit")
    calls = len(stack.calls(model))
    hit = again(streamed=False)
    assert int(hit.headers["age"]) >= 0
    assert hit.headers["x-millrace-cache-source"].startswith("req_")
    assert content(hit.parse()) == first
    assert hit.parse().id != first_id
    replayed = again(streamed=True)
    assert replayed.headers["x-cache"] == "exact_hit"
    chunks = list(replayed.parse())
    assert text_of(chunks) == first
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len(stack.calls(model)) == calls, "nobody was asked again"


def test_the_cache_does_what_it_is_told(client: OpenAI) -> None:
    """no-store keeps nothing; no-cache asks anew; a namespace is a cache of its own."""
    raw = client.chat.completions.with_raw_response
    secret: dict[str, Any] = {"model": FAST, "messages": user(unique())}
    raw.create(**secret, extra_headers={"cache-control": "no-store"})
    known: dict[str, Any] = {"model": FAST, "messages": user(unique())}
    raw.create(**known)
    wait_until(lambda: raw.create(**known).headers["x-cache"] == "exact_hit")
    assert raw.create(**secret, extra_headers={"cache-control": "no-store"}).headers["x-cache"] == (
        "miss"
    ), "what was asked earlier and not kept is not there"
    no_cache = raw.create(**known, extra_headers={"cache-control": "no-cache"})
    assert no_cache.headers["x-cache"] == "bypass"
    elsewhere = raw.create(**known, extra_body={"cache": {"namespace": uuid.uuid4().hex}})
    assert elsewhere.headers["x-cache"] == "miss"


async def test_the_asynchronous_client_asks_many_at_once(async_client: AsyncOpenAI) -> None:
    """Forty questions, half of them streamed: every answer belongs to its question."""

    async def one(number: int) -> None:
        asked: dict[str, Any] = {
            "model": "sim-fast:echo",
            "messages": user(f"{number}: {'word ' * number}{uuid.uuid4().hex}"),
        }
        if number % 2:
            stream = await async_client.chat.completions.create(**asked, stream=True)
            text = text_of([chunk async for chunk in stream])
        else:
            text = content(await async_client.chat.completions.create(**asked))
        assert text == asked["messages"][0]["content"]

    await asyncio.gather(*(one(number) for number in range(40)))
