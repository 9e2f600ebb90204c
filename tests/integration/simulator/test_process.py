"""The simulator as a process: capacity, its log, its probes, its end."""

import asyncio
import json
import signal
import time
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.simulator.wire import (
    chat_body,
    connected,
    listen,
    request_bytes,
    said,
)
from tests.support.simulator import SimulatorProcess, StartFailed, simulator


async def _embed(session: aiohttp.ClientSession, texts: list[str]) -> int:
    body = {"model": "sim-embed-serial", "input": texts, "encoding_format": "base64"}
    async with session.post("/v1/embeddings", json=body) as answer:
        document = await answer.json()
    return len(document["data"])


async def test_one_call_with_many_inputs_beats_many_calls(running: SimulatorProcess) -> None:
    """64 texts in one call take a twentieth of the time that 64 calls at once take."""
    texts = [f"text number {number}" for number in range(64)]
    async with aiohttp.ClientSession(running.url) as session:
        started_s = time.monotonic()
        assert await _embed(session, texts) == 64
        together_s = time.monotonic() - started_s
        started_s = time.monotonic()
        assert sum(await asyncio.gather(*(_embed(session, [text]) for text in texts))) == 64
        alone_s = time.monotonic() - started_s
    assert alone_s >= 64 * 0.0205 - 0.01
    assert 0.052 <= together_s < 0.4
    assert alone_s > 10 * together_s


@pytest.mark.parametrize("parallel", [1, 3])
async def test_no_more_calls_are_served_at_once_than_parallel_allows(
    running: SimulatorProcess, parallel: int
) -> None:
    """Nine calls of 50 ms take nine, or three, times 50 ms, and end one rank after the other."""
    model = f"sim-fast:tokens=2:delay=50ms:parallel={parallel}"
    started_s = time.monotonic()

    async def call(number: int) -> float:
        heard = await said(running.port, chat_body(model, f"call {number}"))
        assert heard.status == 200
        return time.monotonic() - started_s

    ends_s = sorted(await asyncio.gather(*(call(number) for number in range(9))))
    for rank, end_s in enumerate(ends_s):
        assert end_s >= 0.050 * (rank // parallel + 1) - 0.005
    assert ends_s[-1] < 0.050 * 9 / parallel + 0.5


async def test_every_answer_has_its_own_request_id(running: SimulatorProcess) -> None:
    """Answers, errors and pages alike carry an ``x-request-id`` that no other has."""
    heard = [
        await said(running.port, chat_body("sim-fast")),
        await said(running.port, chat_body("no-such-model")),
        await said(running.port, {}, path="/v1/nothing"),
    ]
    ids = {one.data.split(b"x-request-id: ")[1].split(b"\r\n")[0] for one in heard}
    assert len(ids) == len(heard)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("GET", "/v1/nothing", 404, "unknown_url"),
        ("DELETE", "/v1/nothing", 404, "unknown_url"),
        ("POST", "/v1/responses", 404, "unknown_url"),
    ],
)
async def test_path_or_method_that_does_not_exist_is_an_openai_error(
    running: SimulatorProcess, method: str, path: str, status: int, code: str
) -> None:
    """Unknown paths and methods get OpenAI's error object."""
    async with (
        aiohttp.ClientSession(running.url) as session,
        session.request(method, path) as answer,
    ):
        assert answer.status == status
        assert (await answer.json())["error"]["code"] == code


async def test_body_beyond_the_limit_is_refused(running: SimulatorProcess) -> None:
    """A body of 17 MB is 413 and closes the connection; nothing breaks."""
    async with connected(running.port) as (reader, writer):
        writer.write(request_bytes("/v1/chat/completions", b"x" * 17_000_000))
        heard = await listen(reader)
    assert heard.status == 413
    assert b"connection: close" in heard.data


async def test_probes_and_metrics_answer(running: SimulatorProcess) -> None:
    """Both probes are 200; a scrape parses and counts the calls."""
    await said(running.port, chat_body("sim-fast"))
    async with aiohttp.ClientSession(running.url) as session:
        for path in ("/livez", "/readyz"):
            async with session.get(path) as answer:
                assert answer.status == 200
        async with session.get("/metrics") as answer:
            text = await answer.text()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    calls = families["millrace_simulator_calls"].samples
    assert sum(sample.value for sample in calls) >= 1


async def test_calls_are_listed_with_what_they_carried(running: SimulatorProcess) -> None:
    """The log counts upstream calls: model, inputs, tokens, attempt headers, outcome."""
    last = running.calls()[-1]["id"] if running.calls() else 0
    async with aiohttp.ClientSession(running.url) as session:
        headers = {"idempotency-key": "k-1", "millrace-attempt": "2"}
        body = {"model": "sim-embed", "input": ["one", "two"]}
        async with session.post("/v1/embeddings", json=body, headers=headers) as answer:
            request_id = answer.headers["x-request-id"]
            await answer.read()
    (call,) = running.calls(after=last)
    assert call["request_id"] == request_id
    assert (call["operation"], call["model"], call["inputs"]) == ("embeddings", "sim-embed", 2)
    assert (call["status"], call["outcome"], call["input_tokens"]) == (200, "ok", 2)
    assert call["headers"] == headers
    assert call["finished_ms"] >= call["started_ms"]


async def test_log_on_disk_survives_a_kill(tmp_path: Path) -> None:
    """A call that was answered, and one that was under way, are on disk after ``kill -9``."""
    path = tmp_path / "calls.jsonl"
    with simulator(simulator_call_log=path) as process:
        assert (await said(process.port, chat_body("sim-fast:tokens=3"))).status == 200
        async with connected(process.port) as (reader, writer):
            body = chat_body("sim-fast:tps=20:tokens=900", stream=True)
            writer.write(request_bytes("/v1/chat/completions", body))
            await reader.readuntil(b"data: ")
            process.stop(signal.SIGKILL)
    by_id = {}
    for line in path.read_text().splitlines():
        call = json.loads(line)
        by_id[call["id"]] = call
    assert {call["model"]: call["outcome"] for call in by_id.values()} == {
        "sim-fast:tokens=3": "ok",
        "sim-fast:tps=20:tokens=900": "open",
    }


async def test_signal_ends_the_process_cleanly() -> None:
    """Idle, SIGTERM ends it at once with status 0 and no complaint."""
    with simulator() as process:
        await said(process.port, chat_body("sim-fast"))
        started_s = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - started_s < 5
        assert len(process.log) == 1


async def test_signal_ends_the_process_although_a_stream_hangs() -> None:
    """With a hanging stream SIGTERM still ends it within 10 s, with status 0."""
    with simulator() as process:
        async with connected(process.port) as (reader, writer):
            body = chat_body("sim-fast:hang=2", stream=True)
            writer.write(request_bytes("/v1/chat/completions", body))
            await reader.readuntil(b"data: ")
            started_s = time.monotonic()
            assert await asyncio.to_thread(process.stop) == 0
            assert time.monotonic() - started_s < 10


def test_setting_that_does_not_fit_is_named() -> None:
    """A port that is none ends the start, with the variable's name."""
    with (
        pytest.raises(StartFailed, match="MILLRACE_SIMULATOR_PORT"),
        simulator(simulator_port="many"),
    ):
        pytest.fail("it started")
