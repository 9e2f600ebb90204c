"""Every record led somewhere: I10 NoGap, I11 DLQExact."""

import struct
from collections import defaultdict

from tests.faults.checker.history import (
    BATCHES,
    DEAD,
    MISSES,
    REQUESTS,
    RESULTS,
    RETRIES,
    ROUTED,
    Entry,
    History,
    Violation,
    first_terminals,
    request_ids,
    requests_in,
)

_ENDS = (RESULTS,)
_NEXT = (
    (REQUESTS, (MISSES, *_ENDS)),
    ((MISSES,), (ROUTED, *_ENDS)),
    ((ROUTED,), (*BATCHES, *_ENDS)),
    (BATCHES, (*_ENDS, *RETRIES)),
    (RETRIES, _ENDS),
)
_ORIGINAL = "kafka_dlt-original-"
_REASON = "kafka_dlt-exception-fqcn"
_OMITTED = "millrace-omitted-bytes"
_REQUEST_ID = "millrace-request-id"


def no_gap(history: History) -> list[Violation]:
    """I10: each record that a stage took led to an output or a dead letter."""
    dead = {origin(letter) for letter in history.dead_letters()}
    found = []
    for topics, successors in _NEXT:
        seen = requests_in(history.entries(*successors))
        for entry in history.entries(*topics):
            if entry.place in dead:
                continue
            ids = request_ids(entry.record)
            missing = [request_id for request_id in ids if request_id not in seen]
            if missing or not ids:
                what = f"{', '.join(missing) or 'an unreadable record'} came to nothing"
                found.append(Violation("I10", _name(entry.place), what))
    found += [
        Violation(
            "I10", f"{lag.group} {lag.topic}-{lag.partition}", f"{lag.committed} is beyond its end"
        )
        for lag in history.lags
        if lag.committed > lag.end
    ]
    return found


def origin(letter: Entry) -> tuple[str, int, int] | None:
    """Where a dead letter came from; None where it does not say."""
    topic, partition, offset = (
        letter.header(f"{_ORIGINAL}{part}") for part in ("topic", "partition", "offset")
    )
    if topic is None or partition is None or offset is None:
        return None
    return topic.decode(), struct.unpack(">i", partition)[0], struct.unpack(">q", offset)[0]


def dlq_exact(history: History) -> list[Violation]:
    """I11: a poison record has one dead letter: its own bytes, the reason, no secret.

    A crash before its commit writes it again: copies that are the same to the byte are one.
    """
    found = []
    letters: defaultdict[tuple[str, int, int], list[Entry]] = defaultdict(list)
    for letter in history.dead_letters():
        place = origin(letter)
        if place is None:
            found.append(Violation("I11", _name(letter.place), "does not say where it came from"))
            continue
        letters[place].append(letter)
        found += _of_letter(letter, place, history)
    found += [
        Violation("I11", _name(place), f"has {len(copies)} dead letters")
        for place, copies in letters.items()
        if len(copies) > 1 and not (history.faults and _are_alike(copies))
    ]
    found += [
        Violation("I11", _name(place), "is poison and has no dead letter")
        for poison in history.poisons
        if (place := (poison.topic, poison.partition, poison.offset)) not in letters
    ]
    return found


def _are_alike(copies: list[Entry]) -> bool:
    first = copies[0]
    return all((it.value, it.headers) == (first.value, first.headers) for it in copies)


def _of_letter(letter: Entry, place: tuple[str, int, int], history: History) -> list[Violation]:
    subject = _name(place)
    found = []
    if letter.topic != f"{place[0]}{DEAD}":
        found.append(Violation("I11", subject, f"lies in {letter.topic}"))
    if not letter.header(_REASON):
        found.append(Violation("I11", subject, "its dead letter gives no reason"))
    found += _of_bytes(letter, place, history)
    named = letter.header(_REQUEST_ID)
    if named and named.decode(errors="replace") not in first_terminals(history):
        found.append(Violation("I11", subject, "its request has no end"))
    written = b"".join(value for _, value in letter.headers) + (letter.value or b"")
    if any(secret.encode() in written for secret in history.secrets):
        found.append(Violation("I11", subject, "its dead letter shows a secret"))
    return found


def _of_bytes(letter: Entry, place: tuple[str, int, int], history: History) -> list[Violation]:
    subject = _name(place)
    original = next((e for e in history.entries(place[0]) if e.place == place), None)
    if original is None:
        return [Violation("I11", subject, "there is no such record")]
    if letter.header(_OMITTED) is not None:
        return []
    found = []
    if (original.value or b"") != (letter.value or b""):
        found.append(Violation("I11", subject, "its dead letter has other bytes"))
    if letter.headers[: len(original.headers)] != original.headers:
        found.append(Violation("I11", subject, "its dead letter lacks its headers"))
    return found


def _name(place: tuple[str, int, int]) -> str:
    return f"{place[0]}-{place[1]}@{place[2]}"
