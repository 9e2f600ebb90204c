"""Every fault of a provider, over HTTP: each ends in a typed error or in the right answer.

The simulator is a process of its own; the model caller is the real one, but for Kafka around it.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from services.shared.adapters.aiohttp_model_provider import (
    AiohttpModelProvider,
    Endpoint,
    open_session,
)
from services.shared.adapters.system_clock import SystemClock
from services.shared.adapters.tls import tls_context
from services.shared.domain.configuration import Retries, Timeouts
from services.shared.domain.events import Target
from tests.support.example_events import batch
from tests.support.simulator import SimulatorProcess, simulator
from tests.unit.model_caller.callers import Caller, Served, member

TIMEOUTS = Timeouts(connect_s=1, first_token_s=1.5, inter_token_s=0.8, total_s=4)
PROMPT = "Tell me of the sea."
ANSWER = "an answer"


@pytest.fixture(scope="module")
def running() -> Iterator[SimulatorProcess]:
    """A simulator."""
    with simulator() as process:
        yield process


@pytest.fixture
async def provider(running: SimulatorProcess) -> AsyncIterator[AiohttpModelProvider]:
    """The way to it."""
    endpoint = Endpoint(base_url=f"{running.url}/v1", connect_s=1, trust=tls_context({}))
    async with open_session(endpoint) as session:
        yield AiohttpModelProvider(endpoint, session=session)


async def served(
    provider: AiohttpModelProvider,
    model: str,
    *,
    stream: bool,
    retries: Retries = Retries(max_attempts=1),  # noqa: B008  # frozen
    prompt: str = PROMPT,
) -> Served:
    """What becomes of a request for a model."""
    caller = Caller({"first": provider}, timeouts=TIMEOUTS, clock=SystemClock(), retries=retries)
    body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": prompt}]}
    event = member(
        body=json.dumps(body).encode(),
        stream=stream,
        deadline_at=0,
        targets=(Target(provider="first", model=model),),
    )
    return await caller.serve(batch(event))


def text_of(result: Served) -> str:
    """The words of the answer."""
    return str(json.loads(result.one.response)["choices"][0]["message"]["content"])


def streamed_text(result: Served) -> str:
    """The words that a client got."""
    lines = [line for chunk in result.chunks for line in chunk.payload.split(b"\n") if line]
    fragments = [json.loads(line) for line in lines]
    return "".join(
        choice["delta"].get("content") or "" for it in fragments for choice in it["choices"]
    )


TABLE: list[tuple[str, str, str]] = [
    # model, what becomes of it whole, and streamed
    ("sim-fast", ANSWER, ANSWER),
    ("sim-fast:fail=429", "provider_rate_limited", "provider_rate_limited"),
    ("sim-fast:fail=quota", "provider_rate_limited", "provider_rate_limited"),
    ("sim-fast:fail=500", "provider_error", "provider_error"),
    ("sim-fast:fail=502", "provider_error", "provider_error"),
    ("sim-fast:fail=503", "provider_overloaded", "provider_overloaded"),
    ("sim-fast:fail=504", "provider_error", "provider_error"),
    ("sim-fast:fail=529", "provider_overloaded", "provider_overloaded"),
    ("sim-fast:fail=401", "provider_authentication", "provider_authentication"),
    ("sim-fast:fail=400", "provider_rejected", "provider_rejected"),
    ("sim-fast:fail=content-policy", "content_filter", "content_filter"),
    ("sim-fast:fail=context", "context_length_exceeded", "context_length_exceeded"),
    ("sim-unknown", "provider_model_not_found", "provider_model_not_found"),
    ("sim-fast:redirect", "provider_malformed", "provider_malformed"),
    ("sim-fast:hang=headers", "provider_timeout", "provider_timeout"),
    ("sim-fast:hang=0", "provider_timeout", "provider_timeout"),
    ("sim-fast:tokens=40:hang=10", "provider_timeout", "stream_interrupted"),
    ("sim-fast:tokens=40:drip=1s", "provider_timeout", "stream_interrupted"),
    ("sim-fast:tokens=40:drip=300ms", "provider_timeout", "stream_interrupted"),
    ("sim-fast:ttft=3s", ANSWER, "provider_timeout"),
    ("sim-fast:tokens=40:cut=10", "provider_unreachable", "stream_interrupted"),
    ("sim-fast:tokens=40:cut=0", "provider_unreachable", "provider_unreachable"),
    ("sim-fast:tokens=40:eof=10", "provider_malformed", "stream_interrupted"),
    ("sim-fast:tokens=40:eof=0", "provider_malformed", "provider_malformed"),
    ("sim-fast:tokens=40:error=10", "provider_error", "stream_interrupted"),
    ("sim-fast:tokens=40:error=0", "provider_error", "provider_error"),
    ("sim-fast:tokens=40:badjson=5", "provider_malformed", "stream_interrupted"),
    ("sim-fast:tokens=40:badjson=0", "provider_malformed", "provider_malformed"),
    ("sim-fast:lie-usage=negative", ANSWER, ANSWER),
    ("sim-fast:lie-usage=zero", ANSWER, ANSWER),
    ("sim-fast:lie-usage=more", ANSWER, ANSWER),
    ("sim-fast:no-usage", ANSWER, ANSWER),
    ("sim-fast:tokens=40:dup-chunk=3", ANSWER, "the answer with a word twice"),
    ("sim-fast:tokens=40:big-chunk=10MB", "provider_malformed", "stream_interrupted"),
    ("sim-fast:after-end", ANSWER, ANSWER),
    ("sim-fast:wrong-model", ANSWER, ANSWER),
    ("sim-fast:gzip-bomb=100MB", "provider_malformed", "provider_malformed"),
    ("sim-fast:split-utf8", "all characters", "all characters"),
    ("sim-fast:tokens=40:content-filter=10", "filtered", "filtered"),
]
CASES = [
    pytest.param(model, ends[stream], stream, id=f"{model}-{'stream' if stream else 'whole'}")
    for model, *ends in TABLE
    for stream in (False, True)
]


@pytest.mark.parametrize(("model", "end", "stream"), CASES)
async def test_every_fault_has_its_end(
    provider: AiohttpModelProvider, model: str, end: str, *, stream: bool
) -> None:
    """One terminal record, a stream that says how it ended, and never half an answer as a whole."""
    result = await served(provider, model, stream=stream)
    finished = result.one
    last = result.chunks[-1]
    assert [chunk.seq for chunk in result.chunks] == list(range(len(result.chunks)))
    if finished.error is not None:
        assert (finished.error.code, last.kind) == (end, "error")
        assert finished.outcome == "failed"
        assert finished.response == b""
        return
    assert last.kind == "end"
    assert finished.finish_reason == ("content_filter" if end == "filtered" else "stop")
    if stream:
        assert streamed_text(result) == text_of(result)
    plain = text_of(await served(provider, "sim-fast" + _length(model), stream=False))
    match end:
        case "filtered":
            assert plain.startswith(text_of(result))
        case "all characters":
            assert text_of(result).startswith("Café, naïve, Übung, 25 °C, 日本語 and 🙂 all")
        case "the answer with a word twice":
            assert len(text_of(result)) > len(plain)
        case _:
            assert (end, text_of(result)) == (ANSWER, plain)


def _length(model: str) -> str:
    return ":tokens=40" if "tokens=40" in model else ""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("lie", ["lie-usage=negative", "lie-usage=zero", "no-usage"])
async def test_impossible_usage_is_estimated(
    provider: AiohttpModelProvider, lie: str, *, stream: bool
) -> None:
    """Nobody is billed nothing, or less than nothing, for words."""
    finished = (await served(provider, f"sim-fast:{lie}", stream=stream)).one
    assert finished.usage.is_estimated
    assert finished.usage.input_tokens > 0
    assert finished.usage.output_tokens > 0
    assert finished.calls[0].usage == finished.usage


async def test_a_redirect_is_not_followed(
    running: SimulatorProcess, provider: AiohttpModelProvider
) -> None:
    """However inner the host is that it points to."""
    before = len(running.calls())
    await served(provider, "sim-fast:redirect", stream=False)
    assert [call["outcome"] for call in running.calls()[before:]] == ["refused"]


@pytest.mark.parametrize(
    ("hint", "least_ms", "most_ms"),
    [
        ("retry-after=2", 2_000, 2_000),
        ("retry-after=250ms", 250, 250),
        ("retry-after-date=5s", 3_000, 6_000),
        ("retry-after=3600", 600_000, 3_600_000),
    ],
)
async def test_every_form_of_retry_after_reaches_the_caller(
    provider: AiohttpModelProvider, hint: str, least_ms: int, most_ms: int
) -> None:
    """In seconds, ms or as a date; in the chunk's headers, as OpenAI's clients read them."""
    result = await served(provider, f"sim-fast:fail=429:{hint}", stream=True)
    (chunk,) = result.chunks
    assert chunk.status == 429
    assert least_ms <= int(chunk.headers["retry-after-ms"]) <= most_ms


@pytest.mark.parametrize("fault", ["fail=503", "cut=0", "eof=0", "badjson=0", "hang=headers"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_fault_before_the_first_word_is_repeated(
    provider: AiohttpModelProvider, fault: str, *, stream: bool
) -> None:
    """The second call's answer is the answer, and both calls are told."""
    model = f"sim-fast:tokens=40:{fault}:fail-first=1:echo"
    prompt = f"Say it again, {fault}, {stream}."  # the simulator counts calls by prompt
    retries = Retries(backoff_base_ms=10)
    result = await served(provider, model, stream=stream, retries=retries, prompt=prompt)
    assert text_of(result) == prompt
    calls: list[Any] = [msgspec.to_builtins(call) for call in result.one.calls]
    assert [bool(call["error_code"]) for call in calls] == [True, False]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("base_url", ["http://127.0.0.1:9/v1", "http://nowhere.invalid/v1"])
async def test_a_provider_that_is_not_there_is_unreachable(base_url: str, *, stream: bool) -> None:
    """A refused connection and a name that nobody knows end alike, and at once."""
    endpoint = Endpoint(base_url=base_url, connect_s=1, trust=tls_context({}))
    async with open_session(endpoint) as session:
        provider = AiohttpModelProvider(endpoint, session=session)
        result = await served(provider, "sim-fast", stream=stream)
    assert result.code == "provider_unreachable"
    assert result.one.calls[0].upstream_status == 0
