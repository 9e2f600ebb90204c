"""The log of calls, on memory and on disk, and the counters."""

import asyncio
import json
import os
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.simulator.behaviour import Operation
from services.simulator.calls import Call, CallLog, watched_headers
from services.simulator.journal import Journal
from services.simulator.metrics import Metrics


def _call(number: int, model: str = "sim-fast", outcome: str = "ok") -> Call:
    return Call(
        id=number,
        request_id=f"req_{number}",
        operation=Operation.CHAT,
        started_ms=1_000,
        headers={},
        model=model,
        inputs=2,
        input_tokens=10,
        output_tokens=5,
        status=200,
        outcome=outcome,
    )


def _log(count: int, *, most: int = 10) -> CallLog:
    log = CallLog(most=most)
    for number in range(1, count + 1):
        log.append(_call(number, "sim-fast" if number % 2 else "sim-chat"))
    return log


def test_page_holds_calls_after_an_id_oldest_first() -> None:
    """A reader that passes the last id it saw misses nothing and reads nothing twice."""
    log = _log(7)
    first = log.page(most=4)
    second = log.page(after=first.data[-1].id, most=4)
    assert [call.id for call in [*first.data, *second.data]] == [1, 2, 3, 4, 5, 6, 7]
    assert (first.has_more, second.has_more) == (True, False)


def test_page_of_one_model() -> None:
    """Calls of other models are left out."""
    assert [call.id for call in _log(6).page(model="sim-chat").data] == [2, 4, 6]


def test_full_log_forgets_the_oldest_and_says_how_many() -> None:
    """The log is bounded; total and dropped still tell the truth."""
    page = _log(15, most=10).page()
    assert [call.id for call in page.data] == list(range(6, 16))
    assert (page.total, page.dropped) == (15, 5)


def test_watched_headers_are_those_that_name_an_attempt() -> None:
    """Idempotency, trace, retry and Millrace's own headers are kept; keys and cookies never."""
    headers = [
        (b"authorization", b"Bearer secret"),
        (b"idempotency-key", b"k" * 300),
        (b"millrace-attempt", b"2"),
        (b"x-millrace-request-id", b"req_1"),
        (b"x-stainless-retry-count", b"1"),
        (b"traceparent", b"00-ab-cd-01"),
        (b"cookie", b"secret"),
    ]
    assert watched_headers(headers) == {
        "idempotency-key": "k" * 256,
        "millrace-attempt": "2",
        "x-millrace-request-id": "req_1",
        "x-stainless-retry-count": "1",
        "traceparent": "00-ab-cd-01",
    }


async def test_journal_holds_every_line_in_order_once_append_returns(tmp_path: Path) -> None:
    """Lines appended together are all in the file, in order, when their appends are done."""
    path = tmp_path / "calls.jsonl"
    journal = Journal(path)
    await asyncio.gather(*(journal.append(b'{"id":%d}' % number) for number in range(200)))
    lines = path.read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(range(200))
    await journal.append(b'{"id":200}')
    assert len(path.read_text().splitlines()) == 201
    await journal.close()


async def test_journal_goes_on_where_the_last_process_stopped(tmp_path: Path) -> None:
    """A second process appends to the same file."""
    path = tmp_path / "calls.jsonl"
    for line in (b"one", b"two"):
        journal = Journal(path)
        await journal.append(line)
        await journal.close()
    assert path.read_text() == "one\ntwo\n"


async def test_journal_that_cannot_write_fails_the_append(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is an error of the call, not a call that nobody knows of; later ones may pass."""
    journal = Journal(tmp_path / "calls.jsonl")

    def no_space(_file: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", no_space)
        with pytest.raises(OSError, match="No space"):
            await journal.append(b"one")
    await journal.append(b"two")
    await journal.close()


def test_metrics_are_prometheus_text_that_adds_up() -> None:
    """A scrape parses, and holds calls, tokens, inputs, durations and what is in flight."""
    metrics = Metrics()
    for number, duration_ms in enumerate([3, 40, 70_000]):
        metrics.in_flight += 1
        metrics.finish(_call(number), duration_ms=duration_ms)
    metrics.in_flight += 1
    families = {
        family.name: family for family in text_string_to_metric_families(metrics.text().decode())
    }
    values = {
        (sample.name.removeprefix("millrace_simulator_"), *sorted(sample.labels.values())): (
            sample.value
        )
        for family in families.values()
        for sample in family.samples
    }
    assert values["calls_total", "200", "chat", "ok"] == 3
    assert values[("calls_in_flight",)] == 1
    assert values["inputs_total", "chat"] == 6
    assert (values["tokens_total", "input"], values["tokens_total", "output"]) == (30, 15)
    assert values["call_duration_seconds_bucket", "0.005"] == 1
    assert values["call_duration_seconds_bucket", "0.05"] == 2
    assert values["call_duration_seconds_bucket", "60.0"] == 2
    assert values["call_duration_seconds_bucket", "+Inf"] == 3
    assert values[("call_duration_seconds_count",)] == 3
