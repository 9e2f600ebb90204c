"""What a scenario came to, in one line of a table and in a JSON file."""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from tests.faults.checker.history import History, Operation, Violation, first_terminals

FOLDER = "fault-results"
_COLUMNS = (
    "scenario", "requests", "ok", "refused", "unknown", "lost", "doubled", "broken", "calls",
    "gap max", "gap p99", "silence", "recovered",
)  # fmt: skip


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario in numbers.

    Attributes:
        scenario: Its name.
        seed: Of its load.
        requests: Requests sent.
        ok: Answered whole at once.
        refused: Refused, or never connected.
        unknown: Neither.
        lost: Accepted and without a terminal record.
        doubled: Calls that nobody explains, that were made twice or after the end; 0 if unchecked.
        broken: Streams that were accepted and did not end whole, resumed or not; without those that
            were cancelled or left for good.
        calls: Calls that the provider wrote down since the stack started.
        gap_max_s: Longest silence inside a stream, resuming included.
        gap_p99_s: The 99th percentile of the longest silence of each stream.
        silence_s: Longest time in which no request was answered whole.
        recovered_s: From the fault to the first whole answer of a request sent after it.
        evidence: What proves that the fault happened.
        violations: What is wrong.
        unchecked: Invariants that were not checked.
    """

    scenario: str
    seed: int
    requests: int
    ok: int
    refused: int
    unknown: int
    lost: int
    doubled: int
    broken: int
    calls: int
    gap_max_s: float
    gap_p99_s: float
    silence_s: float
    recovered_s: float
    evidence: tuple[str, ...]
    violations: tuple[str, ...]
    unchecked: tuple[str, ...] = ()


def row_of(
    scenario: str,
    history: History,
    violations: Sequence[Violation],
    *,
    seed: int,
    unchecked: Iterable[str],
) -> Row:
    """Count a scenario."""
    asked = list(history.asked())
    terminals = first_terminals(history)
    gaps = sorted(o.longest_gap_s for o in history.readings())
    ends = sorted(operation.ended_s for operation in asked if operation.is_ok)
    begun_s = min((fault.begun_s for fault in history.faults), default=0.0)
    after = [o.ended_s for o in asked if o.is_ok and o.invoked_s >= begun_s]
    return Row(
        scenario=scenario,
        seed=seed,
        requests=len(asked),
        ok=sum(operation.is_ok for operation in asked),
        refused=sum(operation.verdict == "fail" for operation in asked),
        unknown=sum(operation.verdict == "info" for operation in asked),
        lost=len({o.request_id for o in asked if o.is_accepted} - terminals.keys()),
        doubled=sum("ledger" not in v.what for v in violations if v.invariant == "I3"),
        broken=_broken(history),
        calls=len(history.calls),
        gap_max_s=gaps[-1] if gaps else 0.0,
        gap_p99_s=gaps[int(len(gaps) * 0.99)] if gaps else 0.0,
        silence_s=max((b - a for a, b in itertools.pairwise(ends)), default=0.0),
        recovered_s=min(after, default=float("inf")) - begun_s,
        evidence=tuple(fault.evidence for fault in history.faults),
        violations=tuple(map(str, violations)),
        unchecked=tuple(unchecked),
    )


def row_of_failure(scenario: str, why: str, *, seed: int) -> Row:
    """The line of a scenario that was not carried out."""
    return Row(
        scenario=scenario, seed=seed, requests=0, ok=0, refused=0, unknown=0, lost=0, doubled=0,
        broken=0, calls=0, gap_max_s=0.0, gap_p99_s=0.0, silence_s=0.0, recovered_s=0.0,
        evidence=(), violations=(f"not carried out: {why}",),
    )  # fmt: skip


def _broken(history: History) -> int:
    readings: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in history.readings():
        readings[operation.target or operation.request_id].append(operation)
    cancelled = {o.target for o in history.operations if o.kind == "cancel"}
    return sum(
        not any(reading.is_ok for reading in of_request)
        and not all(reading.is_left for reading in of_request)
        and request_id not in cancelled
        for request_id, of_request in readings.items()
    )


def table(rows: Iterable[Row]) -> str:
    """Scenarios as lines of text, with the seeds that repeat them."""
    lines = [f"{_COLUMNS[0]:<34}" + "".join(f"{name:>10}" for name in _COLUMNS[1:])]
    for row in rows:
        numbers = (
            row.requests, row.ok, row.refused, row.unknown, row.lost, row.doubled, row.broken,
            row.calls,
        )  # fmt: skip
        times = (row.gap_max_s, row.gap_p99_s, row.silence_s, row.recovered_s)
        notes = [f"{len(row.violations)} violations"] if row.violations else []
        notes += [f"unchecked: {', '.join(row.unchecked)}"] if row.unchecked else []
        lines.append(
            f"{row.scenario:<34}"
            + "".join(f"{number:>10}" for number in numbers)
            + "".join(f"{seconds:>10.2f}" for seconds in times)
            + f"  seed {row.seed} {'; '.join(notes)}"
        )
    return "\n".join(lines)


def write_report(path: Path, rows: Iterable[Row]) -> None:
    """Write them down for programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(msgspec.to_builtins(list(rows)), indent=1))
