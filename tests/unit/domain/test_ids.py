"""Request ids: unique, ordered by time, and readable without a table."""

import uuid
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.ids import (
    NO_REPLY,
    RANDOM_BYTES,
    RequestOrigin,
    is_producer_request_id,
    new_request_id,
    object_id,
    origin_from_request_id,
    partition_for,
)

TIMES = st.integers(0, 2**48 - 1)
RANDOM = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)
PARTITIONS = st.integers(0, 254) | st.just(NO_REPLY)


@given(TIMES, RANDOM, PARTITIONS)
def test_time_and_partition_are_read_from_an_id(
    now_ms: int, random: bytes, reply_partition: int
) -> None:
    """Any gateway finds a request's answer by the id alone."""
    request_id = new_request_id(now_ms=now_ms, random=random, reply_partition=reply_partition)
    assert origin_from_request_id(request_id) == RequestOrigin(
        accepted_at_ms=now_ms, reply_partition=reply_partition
    )


@given(TIMES, RANDOM)
def test_an_id_holds_a_uuid_of_version_7(now_ms: int, random: bytes) -> None:
    """Version and variant bits are those of RFC 9562, and 74 bits are random."""
    request_id = new_request_id(now_ms=now_ms, random=random, reply_partition=NO_REPLY)
    read = uuid.UUID(request_id.removeprefix("req_")[:32])
    assert (read.version, read.variant) == (7, uuid.RFC_4122)
    assert read.int >> 80 == now_ms


@given(TIMES, RANDOM, RANDOM)
def test_other_random_bytes_make_another_id(now_ms: int, one: bytes, other: bytes) -> None:
    """The lowest 74 of the random bits all count."""
    used = 2**74 - 1
    ids = [new_request_id(now_ms=now_ms, random=r, reply_partition=0) for r in (one, other)]
    is_same = int.from_bytes(one, "big") & used == int.from_bytes(other, "big") & used
    assert (ids[0] == ids[1]) == is_same


@given(TIMES, TIMES, RANDOM)
def test_ids_sort_by_time(one: int, other: int, random: bytes) -> None:
    """A later request has the greater id."""
    ids = [new_request_id(now_ms=now, random=random, reply_partition=0) for now in (one, other)]
    assert (ids[0] < ids[1]) == (one < other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "req_",
        "order-00000001",
        "req_" + "0" * 34,
        "REQ_" + "0" * 12 + "7" + "0" * 21,
        "req_x\n",
    ],
)
def test_an_id_of_another_form_has_no_origin(text: str) -> None:
    """A producer's own id says nothing of time or partition."""
    assert origin_from_request_id(text) is None


@given(TIMES, RANDOM, PARTITIONS)
def test_ids_of_our_form_are_also_ids_a_producer_may_use(
    now_ms: int, random: bytes, reply_partition: int
) -> None:
    """So one check admits both."""
    request_id = new_request_id(now_ms=now_ms, random=random, reply_partition=reply_partition)
    assert is_producer_request_id(request_id)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a" * 8, True),
        ("a" * 64, True),
        ("Order_1-a", True),
        ("a" * 7, False),
        ("a" * 65, False),
        ("order 001", False),
        ("order-001\n", False),
        ("order:001", False),
        ("ordér-001", False),
    ],
)
def test_a_producers_id_is_short_and_plain(text: str, expected: object) -> None:
    """It may stand in a key, a header, a path and a log."""
    assert is_producer_request_id(text) is expected


def test_object_ids_are_the_requests_own_digits() -> None:
    """OpenAI's prefix replaces ours; a producer's id is kept whole."""
    assert object_id("chatcmpl", "req_0123") == "chatcmpl-0123"
    assert object_id("cmpl", "order-00000001") == "cmpl-order-00000001"


@given(st.text(), st.integers(1, 100))
def test_a_request_keeps_one_partition(request_id: str, partitions: int) -> None:
    """The partition is librdkafka's ``consistent`` one: CRC-32 modulo the count."""
    partition = partition_for(request_id, partitions)
    assert partition == zlib.crc32(request_id.encode()) % partitions
    assert 0 <= partition < partitions
