"""OpenAI's official client against a live simulator."""

import base64
import json
import struct
import time
from itertools import pairwise

import openai
import pytest
from openai import AsyncOpenAI

from tests.support.simulator import SimulatorProcess, simulator

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


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def _create(client: AsyncOpenAI, **fields: object):  # type: ignore[no-untyped-def]
    """Call chat completions with fields that need no type."""
    return await client.chat.completions.create(**fields)  # type: ignore[call-overload]  # by name


async def test_chat_completion_is_read_by_the_client(client: AsyncOpenAI) -> None:
    """An answer has content, finish reason, usage that adds up, and the request's id."""
    answer = await _create(client, model="sim-fast", messages=_user("hello there"))
    assert answer.id.startswith("chatcmpl-")
    assert answer.choices[0].finish_reason == "stop"
    assert len(answer.choices[0].message.content) > 20
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert answer._request_id.startswith("req_")


async def test_streamed_answer_is_the_answer(client: AsyncOpenAI) -> None:
    """Streamed or not, the same request is answered with the same text and the same usage."""
    asked = {"model": "sim-fast", "messages": _user("tell me more")}
    whole = await _create(client, **asked)
    text, usage, reasons = "", None, []
    stream = await _create(client, **asked, stream=True, stream_options={"include_usage": True})
    async for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reasons.append(choice.finish_reason)
    assert text == whole.choices[0].message.content
    assert usage == whole.usage
    assert reasons[-1] == "stop"


async def test_tool_call_is_assembled_from_a_stream(client: AsyncOpenAI) -> None:
    """The client's stream helper puts the fragments of a tool call together."""
    async with client.chat.completions.stream(
        model="sim-fast",
        messages=_user("use get_weather"),  # type: ignore[arg-type]  # plain dictionaries
        tools=[WEATHER],  # type: ignore[list-item]  # a plain dictionary
    ) as stream:
        final = await stream.get_final_completion()
    choice = final.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.tool_calls is not None
    arguments = json.loads(choice.message.tool_calls[0].function.arguments)
    assert isinstance(arguments["city"], str)
    assert isinstance(arguments["days"], int)


async def test_tool_result_is_answered_in_words(client: AsyncOpenAI) -> None:
    """After the tool's result the model speaks."""
    called = await _create(client, model="sim-fast", messages=_user("get_weather"), tools=[WEATHER])
    message = called.choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "4 °C"}
    history = [*_user("get_weather"), message.model_dump(exclude_none=True), result]
    answer = await _create(client, model="sim-fast", messages=history, tools=[WEATHER])
    assert answer.choices[0].message.content
    assert answer.choices[0].message.tool_calls is None


async def test_completions_answer_each_prompt(client: AsyncOpenAI) -> None:
    """A list of prompts gets a choice for each, in order, and streams them too."""
    answer = await client.completions.create(
        model="sim-fast:tokens=5", prompt=["one", "two"], n=2, max_tokens=9
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 20
    texts = [""] * 4
    stream = await client.completions.create(
        model="sim-fast:tokens=5", prompt=["one", "two"], n=2, max_tokens=9, stream=True
    )
    async for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in answer.choices]


async def test_embeddings_are_alike_in_both_encodings(client: AsyncOpenAI) -> None:
    """Floats and base64 carry the same vectors; a list is embedded like its members."""
    texts = ["a cat on a mat", "stock prices fell"]
    floats = await client.embeddings.create(model="sim-embed", input=texts, encoding_format="float")
    packed = await client.embeddings.create(
        model="sim-embed", input=texts[1], encoding_format="base64"
    )
    raw = str(packed.data[0].embedding)  # the client's type knows floats only
    decoded = struct.unpack("<384f", base64.b64decode(raw))
    assert list(decoded) == pytest.approx(floats.data[1].embedding, abs=1e-7)
    assert [item.index for item in floats.data] == [0, 1]
    assert floats.usage.prompt_tokens == floats.usage.total_tokens == 4 + 5
    short = await client.embeddings.create(model="sim-embed", input=[1, 2, 3], dimensions=16)
    assert len(short.data) == 1
    assert len(short.data[0].embedding) == 16


async def test_models_are_listed_and_retrieved(client: AsyncOpenAI) -> None:
    """The base models are listed; any name of the grammar can be retrieved, others not."""
    listed = {model.id async for model in client.models.list()}
    assert {"sim-fast", "sim-chat", "sim-embed-serial"} <= listed
    assert (await client.models.retrieve("sim-fast:tokens=5")).id == "sim-fast:tokens=5"
    with pytest.raises(openai.NotFoundError, match="option `nonsense` is not known"):
        await client.models.retrieve("sim-fast:nonsense")


@pytest.mark.parametrize(
    ("model", "error", "code"),
    [
        ("sim-fast:fail=400", openai.BadRequestError, None),
        ("sim-fast:fail=401", openai.AuthenticationError, "invalid_api_key"),
        ("sim-fast:fail=403", openai.PermissionDeniedError, None),
        ("sim-fast:fail=409", openai.ConflictError, None),
        ("sim-fast:fail=422", openai.UnprocessableEntityError, None),
        ("sim-fast:fail=429", openai.RateLimitError, "rate_limit_exceeded"),
        ("sim-fast:fail=quota", openai.RateLimitError, "insufficient_quota"),
        ("sim-fast:fail=context", openai.BadRequestError, "context_length_exceeded"),
        ("sim-fast:fail=503", openai.InternalServerError, "server_is_overloaded"),
        ("no-such-model", openai.NotFoundError, "model_not_found"),
    ],
)
async def test_failure_raises_the_client_s_exception(
    client: AsyncOpenAI, model: str, error: type[openai.APIStatusError], code: str | None
) -> None:
    """Every failure arrives as the client's class for it, with its code and a request id."""
    with pytest.raises(error) as raised:
        await _create(client, model=model, messages=_user("fail"))
    assert raised.value.code == code
    assert raised.value.request_id


async def test_first_calls_fail_and_the_client_s_retries_succeed(
    running: SimulatorProcess,
) -> None:
    """``fail-first=2`` is overcome by two retries, which the log shows as three calls."""
    model = "sim-fast:fail-first=2:retry-after=10ms"
    async with AsyncOpenAI(base_url=f"{running.url}/v1", api_key="k", max_retries=2) as client:
        await _create(client, model=model, messages=_user("third time lucky"))
    calls = running.calls(model=model)
    assert [call["status"] for call in calls] == [500, 500, 200]
    assert [call["outcome"] for call in calls] == ["refused", "refused", "ok"]
    retries = [call["headers"]["x-stainless-retry-count"] for call in calls]
    assert retries == ["0", "1", "2"]


async def test_stream_that_ends_in_an_error_raises(client: AsyncOpenAI) -> None:
    """``error=N`` streams N tokens and then what the client takes for an error."""
    stream = await _create(client, model="sim-fast:error=3", messages=_user("x"), stream=True)
    tokens = []

    async def read() -> None:
        async for chunk in stream:
            tokens.append(chunk.choices[0].delta.content)  # noqa: PERF401  those before the error

    with pytest.raises(openai.APIError, match="The server had an error"):
        await read()
    assert len([token for token in tokens if token]) == 3


async def test_answer_takes_its_time(client: AsyncOpenAI) -> None:
    """First token and pace are those of the name, within a few ms a token."""
    model = "sim-chat:ttft=100ms:tps=100:tokens=21"
    started_s = time.perf_counter()
    times_s = [
        time.perf_counter() - started_s
        async for chunk in await _create(client, model=model, messages=_user("slowly"), stream=True)
        if chunk.choices[0].delta.content
    ]
    assert len(times_s) == 21
    assert 0.099 <= times_s[0] < 0.25
    assert 0.295 <= times_s[-1] < 0.5
    gaps_s = [later - earlier for earlier, later in pairwise(times_s)]
    assert sorted(gaps_s)[10] == pytest.approx(0.010, abs=0.004)


async def test_rate_limited_model_refuses_with_its_headers(client: AsyncOpenAI) -> None:
    """Beyond ``rpm`` calls are 429 with hints; answers carry what is left."""
    model = "sim-fast:rpm=2"
    left = []
    for _ in range(2):
        raw = await client.chat.completions.with_raw_response.create(
            model=model,
            messages=_user("again"),  # type: ignore[arg-type]  # plain dictionaries
        )
        left.append(raw.headers["x-ratelimit-remaining-requests"])
    assert left == ["1", "0"]
    with pytest.raises(openai.RateLimitError) as raised:
        await _create(client, model=model, messages=_user("again"))
    assert 25 <= int(raised.value.response.headers["retry-after"]) <= 30


async def test_key_is_asked_for_where_one_is_set() -> None:
    """With a key the API answers only who has it; probes and metrics answer everybody."""
    with simulator(simulator_key="sk-right") as locked:
        for key, is_right in (("sk-wrong", False), ("sk-right", True)):
            async with AsyncOpenAI(
                base_url=f"{locked.url}/v1", api_key=key, max_retries=0
            ) as client:
                if is_right:
                    await _create(client, model="sim-fast", messages=_user("x"))
                    assert [model async for model in client.models.list()]
                    continue
                with pytest.raises(openai.AuthenticationError) as raised:
                    await _create(client, model="sim-fast", messages=_user("x"))
                assert raised.value.code == "invalid_api_key"
                with pytest.raises(openai.AuthenticationError):
                    await client.models.list()
