"""A scenario's line counts what clients went through, and names what was not checked."""

import json
from pathlib import Path

import msgspec

from tests.faults.checker.check import violations
from tests.faults.checker.history import History
from tests.faults.harness.report import Row, row_of, row_of_failure, table, write_report
from tests.support.fault_history import (
    HIT,
    STREAMED,
    UNKNOWN,
    call,
    good,
    with_calls,
    with_operation,
    without_request,
)


def line(history: History | None = None, *, unchecked: tuple[str, ...] = ()) -> Row:
    """The line of a history."""
    told = history or good()
    found = violations(told, unchecked=unchecked)
    return row_of("name", told, found, seed=3, unchecked=unchecked)


def test_a_good_history_loses_and_doubles_nothing() -> None:
    """Only the stream whose caller was lost is broken: the other was resumed, one cancelled."""
    row = line()
    assert (row.requests, row.ok, row.refused, row.unknown) == (9, 5, 1, 3)
    assert (row.lost, row.doubled, row.broken, row.calls) == (0, 0, 1, 5)
    assert row.evidence == ("another pid",)


def test_a_stream_that_was_not_resumed_is_broken() -> None:
    """A resume that fails leaves its stream broken; one that was left for good is not."""
    row = line(with_operation(5, verdict="info", is_cut=True))
    assert row.broken == 2
    left = msgspec.structs.replace(
        good(), operations=tuple(o for o in good().operations if o.op != 5)
    )
    assert line(left).broken == 1


def test_what_is_lost_and_doubled_is_counted() -> None:
    """Requests without an end, and calls that should not have been."""
    assert line(without_request("inference-results", HIT)).lost == 1
    assert line(with_calls(call(STREAMED, id="again"), call("req_nobody"))).doubled >= 2
    assert line(without_request("usage-ledger", UNKNOWN)).doubled == 0


def test_the_table_says_what_repeats_it_and_what_it_leaves_out() -> None:
    """Each line names its seed, its violations and what was not checked."""
    text = table([line(unchecked=("I9",)), row_of_failure("other", "no Kafka", seed=4)])
    heading, first, second = text.splitlines()
    assert heading.split()[:3] == ["scenario", "requests", "ok"]
    assert "seed 3" in first
    assert "unchecked: I9" in first
    assert "seed 4 1 violations" in second


def test_the_report_is_written_for_programs(tmp_path: Path) -> None:
    """The file holds every line, whole."""
    path = tmp_path / "results" / "faults.json"
    write_report(path, [line()])
    (document,) = json.loads(path.read_text())
    assert document["scenario"] == "name"
    assert document["violations"] == []
