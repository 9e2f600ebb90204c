"""Each fault as a client meets it on the wire."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.integration.simulator.wire import (
    chat_body,
    connected,
    listen,
    request_bytes,
    said,
)
from tests.support.simulator import SimulatorProcess

TOKEN = b'"delta":{"content":"'


@pytest.fixture
async def http(running: SimulatorProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client that the model caller's resembles."""
    async with aiohttp.ClientSession(running.url) as session:
        yield session


def _last_call(running: SimulatorProcess, model: str) -> dict[str, object]:
    return running.calls(model=model)[-1]


async def _outcome(running: SimulatorProcess, model: str) -> object:
    """The outcome of a model's last call, once it has ended."""
    give_up_at_s = time.monotonic() + 10
    while True:
        call = await asyncio.to_thread(_last_call, running, model)
        if call["finished_ms"] is not None:
            return call["outcome"]
        assert time.monotonic() < give_up_at_s, "the call does not end"


async def test_cut_stream_is_a_tcp_reset_after_its_tokens(running: SimulatorProcess) -> None:
    """``cut=10``: ten tokens arrive, then a reset; no finish reason, no end of the HTTP body."""
    heard = await said(running.port, chat_body("sim-fast:cut=10", stream=True))
    assert heard.ending == "reset"
    assert heard.data.count(TOKEN) == 10
    assert b"[DONE]" not in heard.data
    assert not heard.data.endswith(b"0\r\n\r\n")
    assert await _outcome(running, "sim-fast:cut=10") == "reset"


async def test_paced_cut_arrives_token_by_token_before_the_reset(
    running: SimulatorProcess,
) -> None:
    """A slow stream that is cut has delivered every token before."""
    model = "sim-fast:tps=100:cut=5"
    heard = await said(running.port, chat_body(model, stream=True))
    assert heard.ending == "reset"
    assert heard.data.count(TOKEN) == 5
    assert len(heard.pieces) >= 5


async def test_cut_whole_answer_is_a_tcp_reset_inside_the_body(running: SimulatorProcess) -> None:
    """Not streamed, the reset comes in the middle of a body whose length was announced."""
    heard = await said(running.port, chat_body("sim-fast:tokens=100:cut=50"))
    head, _, body = heard.data.partition(b"\r\n\r\n")
    assert heard.ending == "reset"
    announced = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert 0.3 < len(body) / announced < 0.7


async def test_clean_end_has_no_finish_reason(running: SimulatorProcess) -> None:
    """``eof=10``: the HTTP body ends properly, the answer does not."""
    heard = await said(running.port, chat_body("sim-fast:eof=10", stream=True))
    assert heard.ending == "closed"
    assert heard.data.endswith(b"0\r\n\r\n")
    assert heard.data.count(TOKEN) == 10
    assert b'"finish_reason":"' not in heard.data
    assert await _outcome(running, "sim-fast:eof=10") == "eof"


async def test_clean_end_of_a_whole_answer_is_half_a_document(
    running: SimulatorProcess, http: aiohttp.ClientSession
) -> None:
    """Not streamed, HTTP is satisfied and JSON is not."""
    async with http.post("/v1/chat/completions", json=chat_body("sim-fast:eof=10")) as answer:
        with pytest.raises(json.JSONDecodeError):
            json.loads(await answer.read())


async def test_hang_before_headers_sends_nothing(running: SimulatorProcess) -> None:
    """``hang``: the connection stays open and silent; the log knows the call meanwhile."""
    model = "sim-fast:hang=headers"
    async with connected(running.port) as (reader, writer):
        writer.write(request_bytes("/v1/chat/completions", chat_body(model)))
        heard = await listen(reader, silence_s=0.3)
        assert (heard.data, heard.ending) == (b"", "open")
        call = _last_call(running, model)
        assert (call["outcome"], call["finished_ms"]) == ("open", None)
    assert await _outcome(running, model) == "hang"


async def test_hang_after_tokens_keeps_the_connection(running: SimulatorProcess) -> None:
    """``hang=4``: four tokens, then silence on an open connection."""
    model = "sim-fast:hang=4"
    async with connected(running.port) as (reader, writer):
        writer.write(request_bytes("/v1/chat/completions", chat_body(model, stream=True)))
        heard = await listen(reader, silence_s=0.3)
        assert heard.ending == "open"
        assert heard.data.count(TOKEN) == 4
    assert await _outcome(running, model) == "hang"


async def test_hang_of_a_whole_answer_is_inside_its_body(running: SimulatorProcess) -> None:
    """Not streamed, the status line and a part of the body come, and then nothing."""
    async with connected(running.port) as (reader, writer):
        body = chat_body("sim-fast:tokens=20:hang=10")
        writer.write(request_bytes("/v1/chat/completions", body))
        heard = await listen(reader, silence_s=0.3)
    assert heard.ending == "open"
    assert heard.status == 200
    assert b"chatcmpl-" in heard.data
    assert b'"usage"' not in heard.data


async def test_dripping_stream_sends_a_token_an_interval(running: SimulatorProcess) -> None:
    """``drip=100ms``: tokens arrive a tenth of a second apart, each by itself."""
    started_s = time.monotonic()
    heard = await said(running.port, chat_body("sim-fast:drip=100ms:tokens=4", stream=True))
    assert 0.3 <= time.monotonic() - started_s < 0.9
    assert [piece.count(TOKEN) for piece in heard.pieces if b"delta" in piece][-3:] == [1, 1, 1]


async def test_bad_chunk_is_in_the_stream_and_the_rest_follows(running: SimulatorProcess) -> None:
    """``badjson=5``: one event is no JSON, and the stream goes on to its end."""
    heard = await said(running.port, chat_body("sim-fast:tokens=9:badjson=5", stream=True))
    assert heard.data.count(b"data: ") == 1 + 9 + 1 + 1
    assert b"data: [DONE]" in heard.data


async def test_big_chunk_arrives_whole(http: aiohttp.ClientSession) -> None:
    """``big-chunk``: ten megabytes in one event."""
    body = chat_body("sim-fast:big-chunk=10MB", stream=True)
    async with http.post("/v1/chat/completions", json=body) as answer:
        events = (await answer.read()).split(b"\n\n")
    assert max(len(event) for event in events) > 10_000_000
    assert events[-2] == b"data: [DONE]"


async def test_split_characters_arrive_in_two_reads(running: SimulatorProcess) -> None:
    """``split-utf8``: some reads end inside a character; all together are UTF-8."""
    heard = await said(running.port, chat_body("sim-fast:split-utf8:tokens=400", stream=True))
    texts = [piece.removesuffix(b"\r\n") for piece in heard.pieces]  # without HTTP's own
    assert any(text[-1] >= 0xC2 for text in texts)  # ends with the first byte of several
    assert b"data: [DONE]" in heard.data


async def test_redirect_is_followed_only_by_who_follows(
    running: SimulatorProcess, http: aiohttp.ClientSession
) -> None:
    """``redirect``: 307 to a path whose visits are in the log; careful clients never visit it."""
    body = chat_body("sim-fast:redirect")
    before = len(running.calls())
    async with http.post("/v1/chat/completions", json=body, allow_redirects=False) as answer:
        assert answer.status == 307
        assert answer.headers["location"] == f"{running.url}/v1/simulator/redirected"
    careful = await asyncio.to_thread(running.calls)
    assert [call["outcome"] for call in careful[before:]] == ["refused"]
    async with http.post("/v1/chat/completions", json=body) as answer:
        assert answer.status == 200
    careless = await asyncio.to_thread(running.calls)
    outcomes = [call["outcome"] for call in careless[len(careful) :]]
    assert outcomes == ["refused", "redirect_followed"]


@pytest.mark.parametrize("stream", [False, True])
async def test_gzip_bomb_is_small_on_the_wire(
    running: SimulatorProcess, http: aiohttp.ClientSession, *, stream: bool
) -> None:
    """``gzip-bomb``: kilobytes arrive that unpack to megabytes, with the answer at the end."""
    body = chat_body("sim-fast:gzip-bomb=20MB", stream=stream)
    heard = await said(running.port, body)
    assert len(heard.data) < 60_000
    async with http.post("/v1/chat/completions", json=body) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        unpacked = await answer.read()
    assert len(unpacked) > 20_000_000
    text = unpacked.strip()
    assert text.endswith(b"data: [DONE]") if stream else json.loads(text)["usage"]


async def test_wrong_facts_arrive_as_asked_for(http: aiohttp.ClientSession) -> None:
    """Another model's name, and a usage that no answer has."""
    model = "sim-fast:wrong-model:lie-usage=negative"
    async with http.post("/v1/chat/completions", json=chat_body(model)) as answer:
        document = await answer.json()
    assert document["model"] == "some-other-model"
    assert document["usage"]["completion_tokens"] == -1


async def test_client_that_leaves_is_in_the_log_and_its_tokens_are_paid(
    running: SimulatorProcess,
) -> None:
    """A client that leaves before the answer, or in its middle, is logged as gone, with tokens."""
    for model, stream in (("sim-slow:ttft=30s", False), ("sim-fast:tps=20:tokens=900", True)):
        async with connected(running.port) as (reader, writer):
            writer.write(request_bytes("/v1/chat/completions", chat_body(model, stream=stream)))
            if stream:
                await reader.readuntil(TOKEN)
            else:
                await listen(reader, silence_s=0.1)
        assert await _outcome(running, model) == "client_gone"
        call = _last_call(running, model)
        assert int(str(call["output_tokens"])) > 0


async def test_reader_that_stalls_does_not_fill_memory(running: SimulatorProcess) -> None:
    """A client that does not read holds the stream back; others are served meanwhile."""
    model = "sim-fast:tokens=60000"
    async with connected(running.port) as (reader, writer):
        writer.write(request_bytes("/v1/chat/completions", chat_body(model, stream=True)))
        await reader.readexactly(1_000)
        other = await said(running.port, chat_body("sim-fast:tokens=3"))
        assert other.status == 200
        assert _last_call(running, model)["outcome"] == "open"
        rest = await listen(reader, silence_s=2.0)
        assert rest.data.endswith(b"0\r\n\r\n")
    assert await _outcome(running, model) == "ok"


async def test_connection_is_kept_for_the_next_call(running: SimulatorProcess) -> None:
    """Calls follow each other on one connection, refused ones and streams included."""
    async with connected(running.port) as (reader, writer):
        for model, stream in (
            ("sim-fast:tokens=2", False),
            ("sim-fast:fail=500", False),
            ("sim-fast:tokens=2", True),
            ("no-such-model", False),
        ):
            body = chat_body(model, stream=stream)
            writer.write(request_bytes("/v1/chat/completions", body))
            end = b"0\r\n\r\n" if stream else b"}}"
            assert b"HTTP/1.1 " in await reader.readuntil(end)
