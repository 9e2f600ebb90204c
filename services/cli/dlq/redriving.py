"""Putting dead letters back."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from services.cli.dlq.decide import Facts, Left, PutBack, Wish, judge
from services.cli.dlq.log import Log
from services.cli.dlq.reading import decoded, end_text, has_ended
from services.shared.codec.headers import CRC32C, REQUEST_ID, checksum
from services.shared.codec.records import encode_record
from services.shared.domain.dead_letter_table import Found, redrive_count
from services.shared.domain.dead_letters import Place, headers_of_redriven
from services.shared.domain.events import InferenceFinished, InferenceRequested
from services.shared.domain.ids import NO_REPLY, RANDOM_BYTES, new_request_id, partition_for
from services.shared.stream.bulk import Read
from services.shared.stream.client import record_limit_bytes
from services.shared.stream.dead_letter_log import Outgoing, Write

_BATCH_RECORDS = 50
_BATCH_BYTES = 16 * 1024 * 1024
_FRAMING_BYTES = 128


class Redriven(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a dead letter that was to be put back.

    Attributes:
        found: The dead letter.
        to: Where its record is now; None = it was left, or would only be put back.
        request_id: Its new request id; empty = it has its own.
        note: What is to be said of it.
        is_left: Whether it was left, for the reason in ``note``.
        is_refusal: Whether it was refused what was asked for it.
    """

    found: Found
    to: Place | None = None
    request_id: str = ""
    note: str = ""
    is_left: bool = False
    is_refusal: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a redrive will do.

    Attributes:
        put_back: Those that are put back, and what is to be known of each.
        left: Those that are not.
    """

    put_back: Sequence[tuple[Found, str]]
    left: Sequence[Redriven]


def plan(
    letters: Iterable[Found],
    wish: Wish,
    *,
    named: frozenset[Place],
    ends: Mapping[str, InferenceFinished],
    partitions: Mapping[str, int],
) -> Plan:
    """Decide on each dead letter."""
    put_back: list[tuple[Found, str]] = []
    left: list[Redriven] = []
    for found in letters:
        facts = Facts(
            is_named=found.letter.origin in named,
            has_ended=has_ended(found, ends),
            endings=", ".join(sorted({end_text(ends.get(r)) for r in found.request_ids})),
            partitions=partitions,
        )
        match judge(found, wish, facts):
            case PutBack(note=note):
                put_back.append((found, note))
            case Left(why=why, is_refusal=is_refusal):
                left.append(_left(found, why, is_refusal=is_refusal))
    return Plan(put_back=put_back, left=left)


def redrive(
    log: Log, write: Write, planned: Plan, wish: Wish, *, now_ms: Callable[[], float]
) -> Iterator[Redriven]:
    """Put back what was planned; tells of each as soon as it is durable.

    Raises:
        Unavailable: Kafka does not take it; what was told before is done, the rest is not.
    """
    notes = {found.letter.place: (found, note) for found, note in planned.put_back}
    partitions = log.partition_counts()
    for reads in _batches(log.fetch(list(notes))):
        at_ms = int(now_ms())
        prepared = []
        for read in reads:
            found, note = notes.pop(Place(read.topic, read.partition, read.offset))
            outgoing, request_id = (
                _new_request(read, found, at_ms, partitions)
                if wish.as_new_request
                else (_same(read, found, at_ms), "")
            )
            if _is_oversize(outgoing):
                why = "with the headers of its redrive it is larger than its topic takes"
                yield _left(found, why)
            else:
                prepared.append((outgoing, Redriven(found=found, request_id=request_id, note=note)))
        places = write([outgoing for outgoing, _ in prepared], at_ms) if prepared else ()
        for place, (_, done) in zip(places, prepared, strict=True):
            yield msgspec.structs.replace(done, to=place)
    for found, _ in notes.values():
        yield _left(found, "it has been deleted meanwhile")


def _left(found: Found, why: str, *, is_refusal: bool = True) -> Redriven:
    return Redriven(found=found, note=why, is_left=True, is_refusal=is_refusal)


def _batches(reads: Iterable[Read]) -> Iterator[list[Read]]:
    batch: list[Read] = []
    size_bytes = 0
    for read in reads:
        batch.append(read)
        size_bytes += len(read.value or b"")
        if len(batch) >= _BATCH_RECORDS or size_bytes >= _BATCH_BYTES:
            yield batch
            batch, size_bytes = [], 0
    if batch:
        yield batch


def _same(read: Read, found: Found, at_ms: int) -> Outgoing:
    """The record as it was, where it was."""
    origin = found.letter.origin
    return Outgoing(
        letter=found.letter,
        topic=origin.topic,
        partition=origin.partition,
        key=read.key,
        value=read.value,
        headers=headers_of_redriven(
            read.headers, letter=found.letter.place, at_ms=at_ms, count=redrive_count(found)
        ),
    )


def _new_request(
    read: Read, found: Found, at_ms: int, partitions: Mapping[str, int]
) -> tuple[Outgoing, str]:
    """The same wish under a new id, as its producer could have written it again."""
    topic = found.letter.origin.topic
    request_id = new_request_id(
        now_ms=at_ms, random=secrets.token_bytes(RANDOM_BYTES), reply_partition=NO_REPLY
    )
    event = decoded(topic, read.value)
    if not isinstance(event, InferenceRequested):
        raise TypeError(f"{found.letter.origin} was judged to be a request")
    event = msgspec.structs.replace(
        event, request_id=request_id, reply_partition=NO_REPLY, accepted_at=0, deadline_at=0
    )
    value = encode_record(event)
    said = [(n, c) for n, c in read.headers if not n.startswith("millrace-")]  # of the old one
    provenance = headers_of_redriven(
        said, letter=found.letter.place, at_ms=at_ms, count=redrive_count(found)
    )
    outgoing = Outgoing(
        letter=found.letter,
        topic=topic,
        partition=partition_for(request_id, partitions[topic]),
        key=request_id.encode(),
        value=value,
        headers=[*provenance, (REQUEST_ID, request_id.encode()), (CRC32C, checksum(value))],
    )
    return outgoing, request_id


def _is_oversize(record: Outgoing) -> bool:
    carried = sum(len(name) + len(content) + 8 for name, content in record.headers)
    size_bytes = len(record.key or b"") + len(record.value or b"") + carried + _FRAMING_BYTES
    return size_bytes > record_limit_bytes(record.topic)
