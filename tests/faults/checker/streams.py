"""What clients were told: I6 TenantIsolation, I7 TokenContinuity, I8 NoSilentTruncation."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.faults.checker.answers import (
    DONE,
    has_finish_reason,
    is_end,
    is_error,
    parsed,
    text_of,
    text_of_events,
    text_of_terminal,
)
from tests.faults.checker.history import Event, History, Operation, Violation, first_terminals

_ID_PARTS = (3, 4)


def tenant_isolation(history: History) -> list[Violation]:
    """I6: no answer holds the word of another tenant."""
    found = []
    for operation in history.operations:
        said = operation.body + "".join(event.data for event in operation.events)
        found += [
            Violation("I6", operation.request_id or f"op {operation.op}", f"shows {tenant}'s word")
            for tenant, canary in history.canaries.items()
            if tenant != operation.tenant and canary in said
        ]
    return found


def token_continuity(history: History) -> list[Violation]:
    """I7: what was streamed is what is recorded is what the provider said, however often cut."""
    first = first_terminals(history)
    recorded = {
        request_id: text_of_terminal(entry.record)
        for request_id, entry in first.items()
        if entry.record is not None and entry.record["outcome"] == "completed"
    }
    found = []
    for operation in history.asked():
        if operation.is_accepted:
            text, whole = text_of(operation), recorded.get(operation.request_id)
            found += _of_text(operation, text, whole, is_whole=operation.is_ok)
    for operation in history.readings():
        found += _of_events(operation)
    return [*found, *_of_resumes(history, recorded)]


def _of_text(
    operation: Operation, text: str, recorded: str | None, *, is_whole: bool
) -> list[Violation]:
    """Compare words with the record and the provider; part of an answer is its beginning."""
    found = []
    for witness, truth in (("is recorded", recorded), ("the provider said", operation.expected)):
        if not truth:
            continue
        is_same = text == truth if is_whole else truth.startswith(text)
        if not is_same:
            what = f"read {text[-60:]!r} where {witness} {truth[-60:]!r}"
            found.append(Violation("I7", operation.request_id or operation.target, what))
    return found


def _of_events(operation: Operation) -> Iterator[Violation]:
    """Nothing after the end; ids follow one another."""
    subject = operation.request_id or operation.target
    for before, after in pairwise(operation.events):
        may_follow = is_error(before) is False and before.data != DONE
        if not may_follow:
            yield Violation("I7", subject, f"{after.data[:60]!r} came after the end")
    named = [event for event in operation.events if event.id]
    if not all(_is_id(event.id) for event in named):
        yield Violation("I7", subject, "an event's id is not seq:partition:offset")
        return
    places = [tuple(map(int, event.id.split(":"))) for event in named]
    # A request that shares another's stream may end it with an error of its own, which is the first
    # of its own chunks.
    for last, this, event in zip(places, places[1:], named[1:], strict=False):
        if last == this:
            yield Violation("I7", subject, f"event {this} came twice")
        elif this[0] - last[0] not in {0, 1} and not (is_error(event) and not this[0]):
            yield Violation("I7", subject, f"event {this} came after {last}")


def _is_id(text: str) -> bool:
    parts = text.split(":")
    return len(parts) in _ID_PARTS and all(part.isdecimal() for part in parts)


def _of_resumes(history: History, recorded: dict[str, str | None]) -> list[Violation]:
    """Beginnings and continuations, put together, are one stream."""
    readings: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in history.readings():
        readings[operation.target or operation.request_id].append(operation)
    found: list[Violation] = []
    for request_id, of_request in readings.items():
        found += _same_lines(request_id, of_request)
        for resume in of_request:
            if resume.kind != "resume" or not resume.is_ok:
                continue
            begun = beginning(resume.after, of_request)
            if begun is None:
                found.append(Violation("I7", request_id, f"nobody had read {resume.after}"))
                continue
            text, expected = text_of_events([*begun, *resume.events]), _expected(of_request)
            whole = Operation(
                op=resume.op, tenant=resume.tenant, invoked_s=0, target=request_id,
                expected=expected,
            )  # fmt: skip
            found += _of_text(whole, text, recorded.get(request_id), is_whole=True)
    return found


def beginning(after: str, readings: Sequence[Operation]) -> Sequence[Event] | None:
    """What came up to an event, in one reading or several; None where nobody has read it."""
    if not after:
        return ()
    for reading in readings:
        ids = [event.id for event in reading.events]
        if after not in ids or reading.after == after:
            continue
        before = beginning(reading.after, [other for other in readings if other is not reading])
        if before is not None:
            return [*before, *reading.events[: ids.index(after) + 1]]
    return None


def _expected(readings: Sequence[Operation]) -> str:
    return next((reading.expected for reading in readings if reading.expected), "")


def _same_lines(request_id: str, readings: Sequence[Operation]) -> list[Violation]:
    """An event has the same bytes whoever reads it."""
    known: dict[str, str] = {}
    return [
        Violation("I7", request_id, f"event {event.id} has two texts")
        for reading in readings
        for event in reading.events
        if event.id and known.setdefault(event.id, event.data) != event.data
    ]


def no_silent_truncation(history: History) -> list[Violation]:
    """I8: a stream ends whole, by an error event or by a broken connection; a body is whole."""
    found = [
        Violation("I8", operation.request_id or operation.target, lie)
        for operation in history.readings()
        for lie in _of_end(operation)
    ]
    for operation in history.asked():
        is_broken_body = (
            operation.is_ok and not operation.is_stream and parsed(operation.body) is None
        )
        if is_broken_body:
            found.append(Violation("I8", operation.request_id, "its body is no JSON"))
    return found


def _of_end(operation: Operation) -> Iterator[str]:
    events = operation.events
    is_done = any(event.data == DONE for event in events)
    has_failed = any(is_error(event) for event in events)
    if is_done and has_failed:
        yield "broke and ended as if it were whole"
    if is_done and not operation.after and not has_finish_reason(events):
        yield "ended whole without a finish reason"
    if not any(map(is_end, events)) and not (operation.is_cut or operation.is_left):
        yield "ended without saying how"
