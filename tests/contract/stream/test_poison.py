"""Records that must not be processed: one dead letter each, and the partition goes on."""

import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest

from services.shared.codec.headers import (
    CRC32C,
    DEADLINE,
    REPLY,
    REQUEST_ID,
    TENANT,
    checksum,
)
from services.shared.codec.records import encode_record
from services.shared.domain.dead_letters import OMITTED
from services.shared.domain.emit import Emit
from services.shared.domain.events import (
    CacheEvidence,
    CacheMissed,
    Event,
    Hop,
    InferenceFinished,
    InferenceRequested,
    ResultChunk,
)
from services.shared.domain.topics import Topic
from services.shared.stream.client import MAX_RECORD_BYTES, Raw
from services.shared.stream.work import Work
from tests.contract.stream.rig import (
    CHUNKS,
    GROUP,
    IN,
    OUT,
    RESULTS,
    Rig,
    answer_all,
    headers_with,
    headers_without,
    number_of,
    stage_of,
)
from tests.support.example_events import requested
from tests.support.pipeline import default_headers

Headers = list[tuple[str, bytes]]
PUBLIC = Topic.INFERENCE_REQUESTS_P0
BATCHES = Topic.REQUEST_BATCHES_P0


class Bad(NamedTuple):
    """A record as it is written."""

    value: bytes | None
    key: bytes | None
    headers: Headers


def _of(event: Event, key: bytes) -> Bad:
    value = encode_record(event)
    return Bad(value, key, default_headers(event, value))


def _miss(rig: Rig, **changes: Any) -> Bad:
    event = rig.miss(7, **changes)
    return _of(event, event.request.request_id.encode())


def _rewritten(edit: Callable[[bytes], bytes]) -> Callable[[Bad], Bad]:
    """The same record with other bytes, and the checksum that they have."""

    def rewrite(bad: Bad) -> Bad:
        value = edit(bad.value or b"")
        return Bad(value, bad.key, headers_with(bad.headers, CRC32C, checksum(value)))

    return rewrite


def _without(name: str) -> Callable[[Bad], Bad]:
    return lambda bad: bad._replace(headers=headers_without(bad.headers, name))


def _claiming(name: str, value: bytes) -> Callable[[Bad], Bad]:
    return lambda bad: bad._replace(headers=headers_with(bad.headers, name, value))


def _as_it_is(bad: Bad) -> Bad:
    return bad


def _array_bomb() -> bytes:
    """A record that ends in an array which is said to have twenty million items."""
    value = encode_record(CacheMissed(request=requested(7), cache=CacheEvidence()))
    assert value.endswith(b"\0"), "an empty array comes last"
    return value[:-1] + b"\x80\xb4\x89\x13"


_TERABYTE = b"\x80\x80\x80\x80\x80\x80\x01"
_ID = b"request-00000007"
Edit = Callable[[Bad], Bad]
EDITS: list[tuple[str, str, Edit]] = [
    ("K2_too_short", "bad_envelope", _rewritten(lambda _: b"\0\0")),
    ("K2_empty", "bad_envelope", _rewritten(lambda _: b"")),
    ("K2_magic", "bad_envelope", _rewritten(lambda _: b"\1" + bytes(40))),
    ("K2_noise", "bad_envelope", _rewritten(lambda _: bytes(range(1, 200)))),
    ("K3_unknown_schema", "schema_unknown", _rewritten(lambda _: b"\0\x77\0\0\0xx")),
    (
        "K3_other_record",
        "schema_subject_mismatch",
        _rewritten(lambda _: encode_record(requested(7))),
    ),
    ("K4_truncated", "decode_error", _rewritten(lambda value: value[:-3])),
    ("K4_varint_overflow", "decode_error", _rewritten(lambda value: value[:5] + b"\xff" * 12)),
    ("K5_trailing_bytes", "trailing_bytes", _rewritten(lambda value: value + b"\0")),
    ("K6_length_of_a_terabyte", "decode_error", _rewritten(lambda value: value[:5] + _TERABYTE)),
    ("K6_negative_length", "decode_error", _rewritten(lambda value: value[:5] + b"\1" * 8)),
    ("K7_array_bomb", "decode_error", _rewritten(lambda _: _array_bomb())),
    (
        "K9_invalid_utf8",
        "decode_error",
        _rewritten(lambda value: value.replace(_ID, b"request-0000000\xff")),
    ),
    (
        "K10_flipped_byte",
        "checksum_mismatch",
        lambda bad: bad._replace(value=(bad.value or b"").replace(b"acme", b"acmf")),
    ),
    *(
        (f"K12_no_{name}", "missing_header", _without(name))
        for name in (REQUEST_ID, TENANT, DEADLINE, REPLY)
    ),
    (
        "K12_duplicate",
        "duplicate_header",
        lambda bad: bad._replace(headers=[*bad.headers, (TENANT, b"acme")]),
    ),
    ("K13_other_tenant", "tenant_mismatch", _claiming(TENANT, b"evil")),
    *(
        (f"K13_other_{name}", "header_mismatch", _claiming(name, b"12345678"))
        for name in (REQUEST_ID, DEADLINE, REPLY)
    ),
    ("K21_no_key", "bad_key", lambda bad: bad._replace(key=None)),
    ("K21_other_key", "bad_key", lambda bad: bad._replace(key=b"somebody-else")),
    (
        "K25_huge_header",
        "oversize_header",
        lambda bad: bad._replace(headers=[*bad.headers, ("x", b"y" * 9000)]),
    ),
]
CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("K11_no_request_id", "semantic_invalid", {"request_id": ""}),
    ("reply_nowhere", "reply_out_of_range", {"reply_partition": 200}),
]


@pytest.mark.parametrize(
    ("reason", "changes", "edit"),
    [
        *(pytest.param(reason, {}, edit, id=name) for name, reason, edit in EDITS),
        *(pytest.param(reason, changes, _as_it_is, id=name) for name, reason, changes in CHANGES),
    ],
)
async def test_a_poison_record_is_one_dead_letter(
    rig: Rig, reason: str, changes: dict[str, Any], edit: Edit
) -> None:
    """Its bytes, key and headers are kept; Spring's headers say where it was and why; others go on.

    Its request, where an id can be read from value or headers, ends as failed.
    """
    bad = edit(_miss(rig, **changes))
    await rig.pipe(rig.miss(1))
    await rig.pipe_raw(bad.value, key=bad.key, headers=bad.headers)
    await rig.pipe(rig.miss(2))
    await rig.start(stage_of(answer_all))
    await rig.until_committed(3)
    assert await rig.numbers(OUT) == [1, 2]
    [letter] = await rig.dead_letters()
    assert (letter.value, letter.key) == (bad.value, bad.key)
    assert list(letter.headers[: len(bad.headers)]) == bad.headers
    assert _spring(letter, of=bad) == {
        "kafka_dlt-original-topic": IN.encode(),
        "kafka_dlt-original-partition": struct.pack(">i", 0),
        "kafka_dlt-original-offset": struct.pack(">q", 1),
        "kafka_dlt-original-consumer-group": GROUP.encode(),
        "kafka_dlt-exception-fqcn": f"millrace.{reason}".encode(),
        "kafka_dlt-original-timestamp-type": b"CreateTime",
    }
    for ended in await rig.events(RESULTS):
        assert isinstance(ended, InferenceFinished)
        assert (ended.outcome, ended.request_id) in {
            ("failed", "request-00000007"),
            ("failed", "12345678"),
        }
    assert len(await rig.events(RESULTS)) == (reason != "semantic_invalid")


def _spring(letter: Raw, *, of: Bad) -> dict[str, bytes | None]:
    added: dict[str, bytes | None] = dict(letter.headers[len(of.headers) :])
    for name in ("kafka_dlt-original-timestamp", "kafka_dlt-exception-message"):
        assert added.pop(name), name
    return added


async def test_a_tombstone_is_skipped_and_counted(rig: Rig) -> None:
    """K1: a null value means nothing on such a topic; it is no dead letter."""
    await rig.pipe_raw(None, key=b"k")
    await rig.pipe(rig.miss(1))
    process = await rig.start(stage_of(answer_all))
    await rig.until_committed(2)
    assert await rig.dead_letters() == []
    assert _counted(process.runtime.metrics.registry, "millrace_skipped_records_total") == 1


def _counted(registry: Any, name: str) -> float:
    return float(registry.get_sample_value(name, {"topic": IN}) or 0)


async def test_the_waiting_client_of_a_poison_record_is_told(rig: Rig) -> None:
    """An error chunk goes to the reply partition that the request names, and a failed terminal."""
    event = rig.miss(7, reply_partition=1)
    bad = _of(event, b"other key")
    await rig.pipe_raw(bad.value, key=bad.key, headers=bad.headers)
    await rig.start(stage_of(answer_all))
    await rig.until_committed(1)
    [chunk] = await rig.events(CHUNKS)
    assert isinstance(chunk, ResultChunk)
    assert (chunk.request_id, chunk.kind, chunk.status) == ("request-00000007", "error", 500)
    assert [raw.partition for raw in await rig.backend.records(CHUNKS)] == [1]
    [ended] = await rig.events(RESULTS)
    assert isinstance(ended, InferenceFinished)
    assert ended.error is not None
    assert (ended.outcome, ended.error.code, ended.tenant) == ("failed", "poison_record", "acme")
    assert ended.hops == event.hops


async def test_an_undecodable_internal_record_ends_by_its_headers(rig: Rig) -> None:
    """The id, tenant and reply partition that our own headers carry are enough to tell."""
    bad = _rewritten(lambda _: b"\1 not a record")(_miss(rig, reply_partition=1))
    await rig.pipe_raw(bad.value, key=bad.key, headers=bad.headers)
    await rig.start(stage_of(answer_all))
    await rig.until_committed(1)
    [ended] = await rig.events(RESULTS)
    assert isinstance(ended, InferenceFinished)
    assert (ended.request_id, ended.tenant, ended.outcome) == ("request-00000007", "acme", "failed")
    assert len(await rig.events(CHUNKS)) == 1


async def test_a_public_record_needs_neither_headers_nor_a_key(rig: Rig) -> None:
    """What a Kafka producer leaves to admission contradicts nothing."""
    for i, key in enumerate((None, b"any")):
        await rig.pipe_raw(encode_record(rig.request(i, tenant="")), topic=PUBLIC, key=key)
    seen: list[int] = []
    await rig.start(stage_of(_noting(seen), topics=(PUBLIC,)))
    await rig.until_committed(2, PUBLIC)
    assert seen == [0, 1]
    assert await rig.dead_letters(PUBLIC) == []


def _noting(seen: list[int]) -> Callable[[Sequence[Work[InferenceRequested]]], Any]:
    async def process(works: Sequence[Work[InferenceRequested]]) -> None:
        for work in works:
            seen.append(number_of(work.event))
            work.finish()

    return process


@pytest.mark.parametrize(
    ("header", "reason"),
    [((TENANT, b"evil"), "tenant_mismatch"), ((CRC32C, b"00000000"), "checksum_mismatch")],
    ids=["tenant", "checksum"],
)
async def test_a_public_record_that_contradicts_itself_is_poison(
    rig: Rig, header: tuple[str, bytes], reason: str
) -> None:
    """Its request ends as failed, with nothing of what it says of tenant and client believed."""
    value = encode_record(rig.request(7, reply_partition=1))
    await rig.pipe_raw(value, topic=PUBLIC, headers=[header])
    await rig.start(stage_of(_noting([]), topics=(PUBLIC,)))
    await rig.until_committed(1, PUBLIC)
    [letter] = await rig.dead_letters(PUBLIC)
    assert dict(letter.headers)["kafka_dlt-exception-fqcn"] == f"millrace.{reason}".encode()
    ended = await rig.events(RESULTS)
    assert len(ended) == (reason == "tenant_mismatch")
    assert all(isinstance(e, InferenceFinished) and e.tenant == "" for e in ended)
    assert await rig.events(CHUNKS) == []


async def test_headers_of_an_undecodable_public_record_are_not_believed(rig: Rig) -> None:
    """Otherwise anybody could end anybody's request."""
    bad = _rewritten(lambda _: b"\1 not a record")(_miss(rig, reply_partition=1))
    await rig.pipe_raw(bad.value, topic=PUBLIC, key=bad.key, headers=bad.headers)
    await rig.start(stage_of(_noting([]), topics=(PUBLIC,)))
    await rig.until_committed(1, PUBLIC)
    assert len(await rig.dead_letters(PUBLIC)) == 1
    assert await rig.events(RESULTS) == []
    assert await rig.events(CHUNKS) == []


async def test_a_forged_id_of_a_megabyte_ends_nothing(rig: Rig) -> None:
    """What no producer may use as an id is told to nobody, and does not stop the stage."""
    value = encode_record(rig.request(7, request_id="x" * 1_000_000))
    await rig.pipe_raw(value, topic=PUBLIC, headers=[(CRC32C, checksum(value)), (TENANT, b"evil")])
    await rig.start(stage_of(_noting([]), topics=(PUBLIC,)))
    await rig.until_committed(1, PUBLIC)
    assert len(await rig.dead_letters(PUBLIC)) == 1
    assert await rig.events(RESULTS) == []


async def test_every_member_of_a_poison_batch_ends(rig: Rig) -> None:
    """No request is lost because it shared a batch with what broke the processor."""

    async def process(works: Sequence[Work[Any]]) -> None:
        for work in works:
            if number_of(work.event) == 1:
                raise KeyError("secret prompt")
            work.finish()

    await rig.pipe(rig.batch(1, 2, 3, reply_partition=0), rig.batch(4, 5), topic=BATCHES)
    await rig.start(stage_of(process, topics=(BATCHES,)))
    await rig.until_committed(2, BATCHES)
    [letter] = await rig.dead_letters(BATCHES)
    headers = dict(letter.headers)
    assert headers["kafka_dlt-exception-fqcn"] == b"millrace.processor_error"
    assert headers["kafka_dlt-exception-message"] == b"KeyError"
    ended = await rig.events(RESULTS)
    assert [(number_of(e), e.outcome, e.batch_size) for e in ended] == [  # type: ignore[attr-defined]
        (1, "failed", 3),
        (2, "failed", 3),
        (3, "failed", 3),
    ]
    assert len(await rig.events(CHUNKS)) == 3


async def test_a_batch_without_members_is_poison(rig: Rig) -> None:
    """It says nothing of anybody."""
    empty = rig.batch(1).__class__(
        batch_id="batch-1", lane="", merge=False, closed_by="time", opened_at=0, members=()
    )
    await rig.pipe(empty, topic=BATCHES)
    await rig.start(stage_of(_noting([]), topics=(BATCHES,)))
    await rig.until_committed(1, BATCHES)
    [letter] = await rig.dead_letters(BATCHES)
    assert dict(letter.headers)["kafka_dlt-exception-fqcn"] == b"millrace.semantic_invalid"


async def test_a_processor_that_raises_loses_one_record_not_the_poll(rig: Rig) -> None:
    """The bad one is found by running each alone; the others are answered once."""

    async def process(works: Sequence[Work[CacheMissed]]) -> None:
        if any(number_of(work.event) == 3 for work in works):
            raise ValueError("one of you")
        await answer_all(works)

    await rig.pipe(*(rig.miss(i) for i in range(6)))
    await rig.start(stage_of(process))
    await rig.until_committed(6)
    assert await rig.numbers(OUT) == [0, 1, 2, 4, 5]
    [letter] = await rig.dead_letters()
    assert letter.key == b"request-00000003"
    assert await rig.numbers(RESULTS) == [3]


async def test_what_was_emitted_before_a_processor_raised_is_not_repeated(rig: Rig) -> None:
    """Records that were finished before the bad one stay finished."""

    async def process(works: Sequence[Work[CacheMissed]]) -> None:
        for work in works:
            if number_of(work.event) == 3:
                raise ValueError
            await answer_all([work])

    await rig.pipe(*(rig.miss(i) for i in range(6)))
    await rig.start(stage_of(process))
    await rig.until_committed(6)
    assert await rig.numbers(OUT) == [0, 1, 2, 4, 5]
    assert len(await rig.dead_letters()) == 1


async def test_a_record_that_was_buried_after_an_emit_ends_once(rig: Rig) -> None:
    """The late acknowledgement of what it emitted changes nothing."""

    async def process(works: Sequence[Work[CacheMissed]]) -> None:
        for work in works:
            await answer_all([work])
            work.finish()
            if number_of(work.event) == 0:
                raise ValueError

    await rig.pipe(*(rig.miss(i) for i in range(3)))
    process_ = await rig.start(stage_of(process))
    await rig.until_committed(3)
    assert await rig.numbers(OUT) == [0, 1, 2]
    assert process_.runtime.in_flight == 0


async def test_an_output_that_is_too_large_is_the_fault_of_its_record(rig: Rig) -> None:
    """It is a dead letter for what it is, and its request ends as failed."""

    async def process(works: Sequence[Work[CacheMissed]]) -> None:
        for work in works:
            if number_of(work.event) == 1:
                hops = (Hop(service="x" * (MAX_RECORD_BYTES + 1)),)
                event = work.event.__class__(
                    request=work.event.request, cache=work.event.cache, hops=hops
                )
                key = work.event.request.request_id
                await work.emit(Emit(topic=Topic.CACHE_MISSES, key=key, event=event))
            await answer_all([work])

    await rig.pipe(*(rig.miss(i) for i in range(3)))
    await rig.start(stage_of(process))
    await rig.until_committed(3)
    assert await rig.numbers(OUT) == [0, 2]
    [letter] = await rig.dead_letters()
    assert dict(letter.headers)["kafka_dlt-exception-fqcn"] == b"millrace.oversize"
    assert await rig.numbers(RESULTS) == [1]


async def test_a_dead_letter_of_the_largest_record_fits(rig: Rig) -> None:
    """The headers that say why have room beside a value of the full size."""
    value = b"\1" + bytes(MAX_RECORD_BYTES - 300)
    await rig.pipe_raw(value, topic=PUBLIC)
    await rig.start(stage_of(_noting([]), topics=(PUBLIC,)))
    await rig.until_committed(1, PUBLIC)
    [letter] = await rig.dead_letters(PUBLIC)
    assert letter.value == value
    assert OMITTED not in dict(letter.headers)


async def test_poison_does_not_hold_up_what_follows_it(rig: Rig) -> None:
    """Fifty in a row are buried beside the work, each once."""
    for i in range(50):
        await rig.pipe_raw(b"poison %d" % i)
    await rig.pipe(rig.miss(1))
    await rig.start(stage_of(answer_all))
    await rig.until_committed(51)
    assert await rig.numbers(OUT) == [1]
    letters = await rig.dead_letters()
    assert len(letters) == 50
    assert {raw.value for raw in letters} == {b"poison %d" % i for i in range(50)}
