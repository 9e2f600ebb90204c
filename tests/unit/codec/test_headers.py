"""Record headers: what follows from a request, and what contradicts it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.codec.headers import (
    ATTEMPT,
    CRC32C,
    DEADLINE,
    DUE,
    MAX_HEADER_BYTES,
    REPLY,
    REQUEST_ID,
    RETRY_TURNS,
    SIGNATURE,
    TENANT,
    TRACEPARENT,
    TRACESTATE,
    attempts_from,
    check_against_request,
    check_checksum,
    checksum,
    headers_of_delay,
    headers_of_request,
    is_signed,
    read_headers,
    signature,
    time_from,
    turns_from,
)
from services.shared.domain.emit import Delay
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import InferenceRequested
from tests.support.example_events import requested

SECRET = b"s3cret"
names = st.text("abcdefghij-_ /é", min_size=1, max_size=20)
requests = st.builds(
    requested,
    number=st.integers(0, 10**7),
    tenant=st.text(min_size=1, max_size=40),
    deadline_at=st.integers(1, 2**53),
    reply_partition=st.integers(-1, 254),
    traceparent=st.sampled_from(["", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]),
    tracestate=st.sampled_from(["", "vendor=value"]),
)


@given(request=requests)
def test_headers_of_a_request_agree_with_it(request: InferenceRequested) -> None:
    """What one service writes, the next one accepts, on internal and on public topics."""
    headers = read_headers(headers_of_request(request))
    for required in (True, False):
        check_against_request(request, headers, required=required)
    assert (TRACEPARENT in headers, TRACESTATE in headers) == (
        bool(request.traceparent),
        bool(request.tracestate),
    )


@given(request=requests, other=requests)
def test_headers_of_another_request_contradict_it(
    request: InferenceRequested, other: InferenceRequested
) -> None:
    """Any difference in id, tenant, deadline or reply partition is found."""
    fields = ("request_id", "tenant", "deadline_at", "reply_partition")
    is_same = all(getattr(request, field) == getattr(other, field) for field in fields)
    headers = read_headers(headers_of_request(other))
    if is_same:
        check_against_request(request, headers, required=True)
    else:
        with pytest.raises(PoisonRecord) as poison:
            check_against_request(request, headers, required=True)
        assert poison.value.reason in {"header_mismatch", "tenant_mismatch"}


@pytest.mark.parametrize("name", [REQUEST_ID, TENANT, DEADLINE, REPLY])
def test_a_missing_header_is_poison_on_internal_topics_only(name: str) -> None:
    """A public producer may leave all of them out."""
    request = requested()
    headers = read_headers(headers_of_request(request))
    del headers[name]
    check_against_request(request, headers, required=False)
    with pytest.raises(PoisonRecord) as poison:
        check_against_request(request, headers, required=True)
    assert (poison.value.reason, poison.value.detail) == ("missing_header", name)


@pytest.mark.parametrize(
    ("field", "value", "name"),
    [("tenant", "", TENANT), ("deadline_at", 0, DEADLINE), ("reply_partition", -1, REPLY)],
)
def test_what_a_public_producer_left_to_admission_contradicts_nothing(
    field: str, value: object, name: str
) -> None:
    """A header may say what the record does not; on internal topics it may not."""
    headers = read_headers(headers_of_request(requested(tenant="t", reply_partition=3)))
    changes: dict[str, Any] = {"tenant": "t", "reply_partition": 3, field: value}
    request = requested(**changes)
    check_against_request(request, headers, required=False)
    with pytest.raises(PoisonRecord):
        check_against_request(request, headers, required=True)


@given(st.lists(st.tuples(names, st.binary(max_size=50)), unique_by=lambda header: header[0]))
def test_headers_round_trip(headers: list[tuple[str, bytes]]) -> None:
    """Foreign headers are carried as they are; nulls are as good as absent."""
    with_nulls: list[tuple[str, bytes | None]] = [*headers, ("null", None)]
    assert read_headers(with_nulls) == dict(headers)


def test_one_of_ours_twice_is_poison_and_a_foreign_one_is_not() -> None:
    """Two that differ could be read differently by two services; the last foreign one counts."""
    with pytest.raises(PoisonRecord) as poison:
        read_headers([(TENANT, b"a"), (TENANT, b"a")])
    assert poison.value.reason == "duplicate_header"
    assert read_headers([("x", b"1"), ("x", b"2")]) == {"x": b"2"}


def test_a_header_has_a_limit() -> None:
    """It is read on every record."""
    assert read_headers([("x", bytes(MAX_HEADER_BYTES))])
    with pytest.raises(PoisonRecord) as poison:
        read_headers([("x", bytes(MAX_HEADER_BYTES + 1))])
    assert poison.value.reason == "oversize_header"


@given(value=st.binary(min_size=1, max_size=300), position=st.integers(0, 299))
def test_a_checksum_finds_every_flipped_byte(value: bytes, position: int) -> None:
    """And it is only checked where there is one."""
    headers = {CRC32C: checksum(value)}
    check_checksum(value, headers)
    flipped = bytearray(value)
    flipped[position % len(value)] ^= 0x10
    check_checksum(bytes(flipped), {})
    with pytest.raises(PoisonRecord) as poison:
        check_checksum(bytes(flipped), headers)
    assert poison.value.reason == "checksum_mismatch"


def test_the_checksum_is_crc32c() -> None:
    """RFC 3720's example, so that producers in other languages can compute it."""
    assert checksum(b"123456789") == b"e3069283"


@given(value=st.binary(max_size=100), other=st.binary(max_size=100))
def test_a_signature_fits_its_value_and_secret_alone(value: bytes, other: bytes) -> None:
    """Nothing signed by another secret, or for another value, or not at all, is believed."""
    signed = {SIGNATURE: signature(SECRET, value)}
    assert is_signed(SECRET, value, signed)
    assert is_signed(SECRET, other, signed) == (value == other)
    assert not is_signed(b"another", value, signed)
    assert not is_signed(SECRET, value, {})
    assert not is_signed(SECRET, value, {SIGNATURE: b"\xff not hex"})


@pytest.mark.parametrize(
    ("value", "attempts"),
    [(None, 0), (b"", 0), (b"3", 3), (b"-1", 0), (b"x", 0), (b"1" * 10, 0)],
)
def test_how_many_calls_a_record_knows_of(value: bytes | None, attempts: int) -> None:
    """What is no count says nothing."""
    assert attempts_from(value) == attempts


@pytest.mark.parametrize("attempts", [0, 2])
def test_a_record_that_is_put_off_says_what_is_to_be_known_of_it(attempts: int) -> None:
    """When it is due, how often it was put off, and how many calls were made."""
    headers = dict(headers_of_delay(Delay(due_ms=123, turns=4, attempts=attempts)))
    assert time_from(headers[DUE]) == 123
    assert turns_from(headers[RETRY_TURNS]) == 4
    assert attempts_from(headers.get(ATTEMPT)) == attempts
    assert (ATTEMPT in headers) is bool(attempts)
