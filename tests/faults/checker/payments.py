"""Who pays for what: I3 PaidOnce, I4 LedgerSum."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from tests.faults.checker.history import (
    ATTEMPTS,
    LEDGER,
    REQUESTS,
    Call,
    Entry,
    History,
    Violation,
    first_terminals,
    requests_in,
)

CLOCK_MARGIN_MS = 5
"""Broker and provider round the same clock; a call never overtakes its own start by more."""

DURABLE_MARGIN_MS = 50
"""A terminal record bears the time of its arrival, and its writer learns of that later."""

_HIT_ROWS = {"exact_hit": "hit", "semantic_hit": "hit", "joined": "join"}


def started_attempts(history: History) -> dict[str, Entry]:
    """The first ``started`` of each attempt."""
    found: dict[str, Entry] = {}
    for entry in history.entries(ATTEMPTS):
        record = entry.record
        if record is not None and record["kind"] == "started":
            found.setdefault(f"{record['request_id']}-{record['attempt']}", entry)
    return found


def folded(rows: Iterator[Entry]) -> dict[str, Mapping[str, Any]]:
    """The ledger's rows by id: the first counts, ``unknown`` yields to another kind.

    The hit or join of a request that a call has answered does not count.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for entry in rows:
        row = entry.record
        if row is None:
            continue
        known = found.get(row["row_id"])
        if known is None or (known["kind"] == "unknown" and row["kind"] != "unknown"):
            found[row["row_id"]] = row
    answered = {
        row["request_id"]
        for row in found.values()
        if row["kind"] == "attempt" and not row["error_code"]
    }
    return {
        row_id: row
        for row_id, row in found.items()
        if row["kind"] not in {"hit", "join"} or row["request_id"] not in answered
    }


def paid_once(history: History) -> list[Violation]:
    """I3: each call is an attempt that was written down first; none after the answer is durable."""
    started = started_attempts(history)
    rows = folded(history.entries(LEDGER))
    known = requests_in(history.entries(*REQUESTS))
    found = []
    for call in history.calls:
        if call.attempt_id not in started or call.request_id not in known:
            found.append(Violation("I3", call.attempt_id or call.id, "a call that nobody explains"))
        elif started[call.attempt_id].at_ms > call.started_ms + CLOCK_MARGIN_MS:
            found.append(Violation("I3", call.attempt_id, "was called before its start was safe"))
        if call.attempt_id and call.attempt_id not in rows:
            found.append(Violation("I3", call.attempt_id, "was called and is not in the ledger"))
    return [*found, *_repeated(history, started), *_after_durable(history)]


def _repeated(history: History, started: Mapping[str, Entry]) -> list[Violation]:
    per_attempt = Counter(call.attempt_id for call in history.calls if call.attempt_id)
    per_request = Counter(call.request_id for call in history.calls if call.attempt_id)
    attempts = Counter(attempt_id.rpartition("-")[0] for attempt_id in started)
    return [
        *(
            Violation("I3", attempt_id, f"one attempt was called {count} times")
            for attempt_id, count in per_attempt.items()
            if count > 1
        ),
        *(
            Violation("I3", request_id, f"{count} calls, {attempts[request_id]} attempts")
            for request_id, count in per_request.items()
            if count > attempts[request_id]
        ),
    ]


def _after_durable(history: History) -> list[Violation]:
    first = first_terminals(history)
    return [
        Violation("I3", call.attempt_id, "was called after its request's end was durable")
        for call in history.calls
        if call.request_id in first
        and call.started_ms > first[call.request_id].at_ms + DURABLE_MARGIN_MS
    ]


def ledger_sum(history: History) -> list[Violation]:
    """I4: one row for every attempt, hit and join, none else, with the provider's own figures."""
    rows = folded(history.entries(LEDGER))
    owed = _owed(history)
    found = [
        Violation("I4", row_id, f"no {'/'.join(kinds)} row in the ledger")
        for row_id, kinds in owed.items()
        if row_id not in rows or rows[row_id]["kind"] not in kinds
    ]
    found += [
        Violation("I4", row_id, "a row that nothing explains") for row_id in rows.keys() - owed
    ]
    for row in rows.values():
        found += _of_row(row)
    return [*found, *_unordered(history), *_figures(history, rows), *_costs(history, rows)]


def _owed(history: History) -> dict[str, tuple[str, ...]]:
    """Ids and possible kinds of the rows that must be there."""
    owed: dict[str, tuple[str, ...]] = dict.fromkeys(
        started_attempts(history), ("attempt", "unknown")
    )
    for request_id, entry in first_terminals(history).items():
        record = entry.record
        assert record is not None
        kind = _HIT_ROWS.get(record["cache"]["outcome"], "")
        if kind == "join" or (kind and record["outcome"] == "completed"):
            owed[f"{request_id}-0"] = (kind,)
        for call in record["calls"] if not kind else ():
            owed.setdefault(f"{request_id}-{call['attempt']}", ("attempt", "unknown"))
    return owed


def _of_row(row: Mapping[str, Any]) -> Iterator[Violation]:
    is_called = row["kind"] not in {"hit", "join"}
    if row["row_id"] != f"{row['request_id']}-{row['attempt']}" or is_called != (
        row["attempt"] > 0
    ):
        yield Violation("I4", row["row_id"], "is not the id of what the row says")
    numbers = [row["cost_nanousd"], row["usage"]["input_tokens"], row["usage"]["output_tokens"]]
    if any(type(number) is not int or number < 0 for number in numbers):
        yield Violation("I4", row["row_id"], f"{numbers} are not counts")
    if row["kind"] in {"hit", "join"} and row["cost_nanousd"]:
        yield Violation("I4", row["row_id"], "costs money though nobody was called")


def _unordered(history: History) -> list[Violation]:
    places: defaultdict[str, set[int]] = defaultdict(set)
    for entry in history.entries(LEDGER):
        if entry.record is not None:
            places[entry.record["row_id"]].add(entry.partition)
    return [
        Violation("I4", row_id, "has rows on two partitions, so none is first")
        for row_id, partitions in places.items()
        if len(partitions) > 1
    ]


def _figures(history: History, rows: Mapping[str, Mapping[str, Any]]) -> Iterator[Violation]:
    """Tokens of whole calls: the provider's count and ours."""
    for call in history.calls:
        row = rows.get(call.attempt_id)
        if row is None or not _is_comparable(call, row):
            continue
        usage = row["usage"]
        ours = (usage["input_tokens"], usage["output_tokens"])
        theirs = (call.input_tokens, call.output_tokens)
        if ours != theirs:
            yield Violation("I4", call.attempt_id, f"ledger says {ours}, the provider {theirs}")


def _is_comparable(call: Call, row: Mapping[str, Any]) -> bool:
    is_whole = call.outcome == "ok" and row["kind"] == "attempt" and not row["error_code"]
    return is_whole and not row["usage"]["is_estimated"]


def _costs(history: History, rows: Mapping[str, Mapping[str, Any]]) -> Iterator[Violation]:
    """What a terminal record says a call cost is what the ledger says."""
    for request_id, entry in first_terminals(history).items():
        assert entry.record is not None
        if entry.record["cache"]["outcome"] in _HIT_ROWS:
            continue
        for call in entry.record["calls"]:
            row = rows.get(f"{request_id}-{call['attempt']}")
            is_known = row is not None and row["kind"] == "attempt"
            if is_known and row is not None and row["cost_nanousd"] != call["cost_nanousd"]:
                what = f"costs {row['cost_nanousd']} in the ledger, {call['cost_nanousd']} recorded"
                yield Violation("I4", row["row_id"], what)
