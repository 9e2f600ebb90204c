"""What clients saw, what the log says, and whether the two agree; shares no code with the product.

An operation is invoked and ends whole, refused, broken, or in a way that nobody knows. A request is
accepted once its client has seen a 2xx status; from then on the pipeline owes it a terminal record,
and of several the first in the log is the truth.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

TERMINAL_STATES = frozenset({"completed", "failed", "cancelled", "expired"})


class Operation(msgspec.Struct, kw_only=True):
    """One request as its client saw it.

    Attributes:
        model: What was asked.
        is_stream: Whether it was streamed.
        invoked_s: When it was sent, seconds of a monotonic clock.
        ended_s: When its end was seen.
        status: HTTP status; 0 = none was seen.
        request_id: As in the answer's headers; empty = none was seen.
        text: All text that came.
        pieces: In how many pieces it came.
        is_done: ``[DONE]`` came, or a whole body.
        error_code: Code of the error that came; empty = none.
        is_cut: The connection broke, or the client gave up waiting.
        retry_after: The answer's Retry-After; empty = none.
        longest_gap_s: Longest silence inside a stream.
    """

    model: str = ""
    is_stream: bool
    invoked_s: float
    ended_s: float = 0.0
    status: int = 0
    request_id: str = ""
    text: str = ""
    pieces: int = 0
    is_done: bool = False
    error_code: str = ""
    is_cut: bool = False
    retry_after: str = ""
    longest_gap_s: float = 0.0

    @property
    def duration_s(self) -> float:
        """From its start to its end."""
        return self.ended_s - self.invoked_s

    @property
    def is_accepted(self) -> bool:
        """Whether its client was told that it is served."""
        return 200 <= self.status < 300

    @property
    def is_ok(self) -> bool:
        """Whether it was answered whole."""
        return self.is_accepted and self.is_done and not self.error_code and not self.is_cut

    @property
    def is_refused(self) -> bool:
        """Whether it was told that it is not served."""
        return self.status >= 400

    @property
    def is_broken_stream(self) -> bool:
        """Whether it began to stream and did not end whole."""
        return self.is_stream and self.is_accepted and not self.is_ok


class Terminal(msgspec.Struct, frozen=True, kw_only=True):
    """One terminal record.

    Attributes:
        request_id: The request.
        partition: Where it lies.
        offset: Where it lies.
        outcome: How the request ended.
        text: Text of the answer.
    """

    request_id: str
    partition: int
    offset: int
    outcome: str
    text: str = ""


def terminal_of(record: Mapping[str, Any], *, partition: int, offset: int, text: str) -> Terminal:
    """Read a decoded record of ``inference-results``."""
    return Terminal(
        request_id=record["request_id"],
        partition=partition,
        offset=offset,
        outcome=record["outcome"],
        text=text,
    )


def first_terminals(terminals: Iterable[Terminal]) -> dict[str, Terminal]:
    """The terminal record that counts, by request."""
    first: dict[str, Terminal] = {}
    for terminal in terminals:
        known = first.get(terminal.request_id)
        if known is None or (
            known.partition == terminal.partition and terminal.offset < known.offset
        ):
            first[terminal.request_id] = terminal
    return first


def lost(operations: Iterable[Operation], terminals: Iterable[Terminal]) -> list[str]:
    """Accepted requests of which the log does not say how they ended."""
    ended = {terminal.request_id for terminal in terminals}
    return [o.request_id for o in operations if o.is_accepted and o.request_id not in ended]


def contradictions(operations: Sequence[Operation], terminals: Sequence[Terminal]) -> list[str]:
    """Where clients and log tell different stories; lost requests are not among them."""
    return [*_of_operations(operations, first_terminals(terminals)), *_of_terminals(terminals)]


def _of_operations(operations: Iterable[Operation], first: Mapping[str, Terminal]) -> list[str]:
    found = []
    for operation in operations:
        found += [f"{operation.request_id or '?'} {lie}" for lie in _of_its_end(operation)]
        terminal = first.get(operation.request_id)
        if terminal is not None and operation.is_accepted:
            found += [f"{operation.request_id} {lie}" for lie in _of_both(operation, terminal)]
    return found


def _of_its_end(operation: Operation) -> Iterator[str]:
    is_broken = bool(operation.error_code) or operation.is_cut
    if operation.is_accepted and not operation.request_id:
        yield "was accepted without an id"
    if operation.is_done and is_broken:
        yield "broke and ended as if it were whole"
    if operation.is_accepted and not operation.is_done and not is_broken:
        yield "ended without saying how"


def _of_both(operation: Operation, terminal: Terminal) -> Iterator[str]:
    if operation.is_ok and terminal.outcome != "completed":
        yield f"was answered and is recorded as {terminal.outcome}"
    elif operation.is_ok and terminal.text != operation.text:
        yield "was answered with another text than is recorded"
    elif terminal.outcome == "completed" and not terminal.text.startswith(operation.text):
        yield "was streamed words that are not in its answer"


def _of_terminals(terminals: Iterable[Terminal]) -> list[str]:
    found = []
    partitions: dict[str, int] = {}
    for terminal in terminals:
        if terminal.outcome not in TERMINAL_STATES:
            found.append(f"{terminal.request_id} ended as {terminal.outcome}")
        known = partitions.setdefault(terminal.request_id, terminal.partition)
        if known != terminal.partition:
            found.append(f"{terminal.request_id} has terminal records on two partitions")
    return found


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario in numbers.

    Attributes:
        scenario: Its name.
        requests: Operations invoked.
        ok: Answered whole.
        refused: Refused with an error status.
        unknown: Neither: connections that broke before an answer.
        broken_streams: Began to stream and did not end whole.
        lost: Accepted and without terminal record.
        repeated: Requests with more than one terminal record.
        longest_gap_s: Longest time in which no request was answered whole.
        recovered_s: From the fault to the first whole answer of a request sent after it.
    """

    scenario: str
    requests: int
    ok: int
    refused: int
    unknown: int
    broken_streams: int
    lost: int
    repeated: int
    longest_gap_s: float
    recovered_s: float


def tally(
    scenario: str,
    operations: Sequence[Operation],
    terminals: Sequence[Terminal],
    *,
    fault_s: float,
) -> Tally:
    """Count a scenario.

    Args:
        scenario: Its name.
        operations: What clients saw.
        terminals: What the log says.
        fault_s: When the fault happened, on the operations' clock.
    """
    ours = {operation.request_id for operation in operations}
    counts: dict[str, int] = {}
    for terminal in terminals:
        if terminal.request_id in ours:
            counts[terminal.request_id] = counts.get(terminal.request_id, 0) + 1
    ends = sorted(operation.ended_s for operation in operations if operation.is_ok)
    after = [o.ended_s for o in operations if o.is_ok and o.invoked_s >= fault_s]
    return Tally(
        scenario=scenario,
        requests=len(operations),
        ok=sum(operation.is_ok for operation in operations),
        refused=sum(operation.is_refused for operation in operations),
        unknown=sum(not operation.status for operation in operations),
        broken_streams=sum(operation.is_broken_stream for operation in operations),
        lost=len(lost(operations, terminals)),
        repeated=sum(count > 1 for count in counts.values()),
        longest_gap_s=max((b - a for a, b in itertools.pairwise(ends)), default=0.0),
        recovered_s=min(after, default=float("inf")) - fault_s,
    )


def table(tallies: Iterable[Tally]) -> str:
    """Scenarios as lines of text."""
    heading = (
        "scenario", "requests", "ok", "refused", "unknown", "broken", "lost", "repeated",
        "gap s", "recovered s",
    )  # fmt: skip
    lines = [f"{heading[0]:<28}" + "".join(f"{name:>12}" for name in heading[1:])]
    for each in tallies:
        numbers = (
            each.requests, each.ok, each.refused, each.unknown, each.broken_streams, each.lost,
            each.repeated,
        )  # fmt: skip
        times = (each.longest_gap_s, each.recovered_s)
        lines.append(
            f"{each.scenario:<28}"
            + "".join(f"{number:>12}" for number in numbers)
            + "".join(f"{seconds:>12.2f}" for seconds in times)
        )
    return "\n".join(lines)
