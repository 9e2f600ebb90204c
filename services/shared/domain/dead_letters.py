"""Dead letters: what their headers say, which of them are meant, how one goes back.

A dead letter is known by the place of its *original* record, ``topic-partition-offset``. A crash
may write it twice; all of one origin are one dead letter, its copies. A redrive leaves a *mark* on
the dead-letter topic, in one transaction with the record that it puts back: a record without a
value that says which dead letter went where. So the dead-letter topic alone knows what was
redriven, for as long as it keeps the dead letter itself.
"""

import struct
from collections.abc import Mapping, Sequence

import msgspec

ORIGINAL_TOPIC = "kafka_dlt-original-topic"
ORIGINAL_PARTITION = "kafka_dlt-original-partition"
ORIGINAL_OFFSET = "kafka_dlt-original-offset"
ORIGINAL_TIMESTAMP = "kafka_dlt-original-timestamp"
ORIGINAL_TIMESTAMP_TYPE = "kafka_dlt-original-timestamp-type"
ORIGINAL_GROUP = "kafka_dlt-original-consumer-group"
EXCEPTION = "kafka_dlt-exception-fqcn"
MESSAGE = "kafka_dlt-exception-message"
EXCEPTION_PREFIX = "millrace."
OMITTED = "millrace-omitted-bytes"
"""Header of a dead letter whose record is too large to be kept: its size; the log still has it."""

REDRIVEN_FROM = "millrace-redriven-from"
"""Dead letter that a record was put back from: its own place on the dead-letter topic."""

REDRIVEN_AT = "millrace-redriven-at"
"""When it was put back, unix ms."""

REDRIVES = "millrace-redrives"
"""How often this record was put back, this time included."""

REDRIVEN_ORIGIN = "millrace-redriven-origin"
"""Of a mark: the place of the dead letter's original record."""

REDRIVEN_TO = "millrace-redriven-to"
"""Of a mark: the place of the record that was put back."""

_SPRING_PREFIX = "kafka_dlt-"
_OURS = frozenset({OMITTED, REDRIVEN_FROM, REDRIVEN_AT, REDRIVES})

Headers = Sequence[tuple[str, bytes]]


class Place(msgspec.Struct, frozen=True, order=True):
    """Where a record is: topic, partition and offset."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"


def read_place(text: str) -> Place | None:
    """Read ``topic-partition-offset``; None when it is something else."""
    topic, _, numbers = text.rpartition("-")
    topic, _, partition = topic.rpartition("-")
    if not topic or not _is_number(partition) or not _is_number(numbers):
        return None
    return Place(topic, int(partition), int(numbers))


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers of a dead letter say.

    Attributes:
        place: Where it is itself.
        origin: Where its original record was.
        reason: Why it was given up.
        detail: The same for people.
        group: Consumer group that gave it up.
        written_at_ms: Kafka's timestamp of the original record, unix ms.
        died_at_ms: When it was given up, unix ms.
        redrives: How often its original record had been put back before.
        omitted_bytes: Size of a value that was too large to be kept; -1 = it was kept.
    """

    place: Place
    origin: Place
    reason: str
    detail: str
    group: str
    written_at_ms: int
    died_at_ms: int
    redrives: int = 0
    omitted_bytes: int = -1


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """That a dead letter was redriven.

    Attributes:
        origin: Place of its original record.
        letter: Place of the dead letter.
        to: Place of the record that was put back.
        at_ms: When, unix ms.
    """

    origin: Place
    letter: Place
    to: Place
    at_ms: int


def read_dead_letter(
    place: Place, headers: Headers, *, timestamp_ms: int
) -> DeadLetter | Mark | None:
    """Read a record of a dead-letter topic by its headers; None when it is neither of these.

    Args:
        place: Where the record is.
        headers: Its headers; of several with one name the last counts, which is ours.
        timestamp_ms: Kafka's timestamp of it, unix ms.
    """
    found = dict(headers)
    try:
        if ORIGINAL_OFFSET not in found:
            return _mark(found)
        return _dead_letter(place, found, timestamp_ms)
    except (KeyError, ValueError, struct.error):
        return None


def original_headers(headers: Headers) -> list[tuple[str, bytes]]:
    """The headers that the original record had, without those that we add."""
    return [
        (name, content)
        for name, content in headers
        if not name.startswith(_SPRING_PREFIX) and name not in _OURS
    ]


def headers_of_redriven(
    headers: Headers, *, letter: Place, at_ms: int, count: int
) -> list[tuple[str, bytes]]:
    """The headers of a record that is put back: its own ones, and where it comes from.

    Args:
        headers: Headers that it keeps.
        letter: The dead letter's own place.
        at_ms: Unix ms.
        count: How often the record will have been put back.
    """
    return [
        *original_headers(headers),
        (REDRIVEN_FROM, str(letter).encode()),
        (REDRIVEN_AT, b"%d" % at_ms),
        (REDRIVES, b"%d" % count),
    ]


def headers_of_mark(letter: DeadLetter, *, to: Place, at_ms: int) -> list[tuple[str, bytes]]:
    """The headers that are all there is of a mark."""
    return [
        (REDRIVEN_ORIGIN, str(letter.origin).encode()),
        (REDRIVEN_FROM, str(letter.place).encode()),
        (REDRIVEN_TO, str(to).encode()),
        (REDRIVEN_AT, b"%d" % at_ms),
    ]


def _dead_letter(place: Place, headers: Mapping[str, bytes], timestamp_ms: int) -> DeadLetter:
    (partition,) = struct.unpack(">i", headers[ORIGINAL_PARTITION])
    (offset,) = struct.unpack(">q", headers[ORIGINAL_OFFSET])
    (written_at_ms,) = struct.unpack(">q", headers[ORIGINAL_TIMESTAMP])
    return DeadLetter(
        place=place,
        origin=Place(headers[ORIGINAL_TOPIC].decode(), partition, offset),
        reason=headers[EXCEPTION].decode().removeprefix(EXCEPTION_PREFIX),
        detail=headers.get(MESSAGE, b"").decode(errors="replace"),
        group=headers.get(ORIGINAL_GROUP, b"").decode(errors="replace"),
        written_at_ms=written_at_ms,
        died_at_ms=timestamp_ms,
        redrives=_count(headers.get(REDRIVES, b"0"), otherwise=0),
        omitted_bytes=_count(headers.get(OMITTED, b""), otherwise=-1),
    )


def _mark(headers: Mapping[str, bytes]) -> Mark | None:
    places = [
        read_place(headers[name].decode()) for name in (REDRIVEN_ORIGIN, REDRIVEN_FROM, REDRIVEN_TO)
    ]
    origin, letter, to = places
    if origin is None or letter is None or to is None:
        return None
    return Mark(origin=origin, letter=letter, to=to, at_ms=int(headers[REDRIVEN_AT]))


def _count(text: bytes, *, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdigit() else otherwise


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
