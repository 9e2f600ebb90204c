"""Records that are wrong, on public and internal topics of the live stack."""

import json
import struct
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import google_crc32c
import pytest

from services.shared.codec.headers import headers_of_request
from services.shared.codec.records import encode_record
from services.shared.domain.events import InferenceRequested
from tests.support.example_events import batch, finished, missed, requested, routed
from tests.support.kafka_topics import (
    LogRecord,
    TerminalOf,
    TopicReader,
    TopicWriter,
    topic_reader,
)
from tests.support.raw_avro import enveloped, inference_requested, long, sized
from tests.support.stack import RunningStack

P1 = "inference-requests-p1"
RESULTS = "inference-results"
GOES_ON_S = 5.0
CHAT = {"model": "sim-fast:tokens=7", "messages": [{"role": "user", "content": "Why?"}]}


def new_id() -> str:
    """An id as a producer may choose it."""
    return f"test-{uuid.uuid4().hex}"


class Bad(NamedTuple):
    """A record that becomes a dead letter.

    Attributes:
        reason: What the dead letter says.
        value: Its value.
        headers: Its headers.
        key: Its key.
        request_id: The request that ends with it; empty where none can be read.
    """

    reason: str
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()
    key: bytes | None = None
    request_id: str = ""


def good_body(**pieces: bytes) -> bytes:
    """A good request with changes, byte by byte."""
    return inference_requested(
        **{
            "request_id": sized(new_id().encode()),
            "operation": sized(b"chat"),
            "body": sized(json.dumps(CHAT).encode()),
            **pieces,
        }
    )


GOOD = enveloped(good_body())
CHECKSUM = b"%08x" % google_crc32c.value(GOOD)
BAD_PUBLIC = {
    "K2_empty": Bad("bad_envelope", b""),
    "K2_short": Bad("bad_envelope", b"\0\0\0"),
    "K2_magic": Bad("bad_envelope", b"\1" + GOOD[1:]),
    "K2_random": Bad("bad_envelope", bytes(range(255, 155, -1))),
    "K2_json": Bad("bad_envelope", json.dumps(CHAT).encode()),
    "K3_unknown_schema": Bad("schema_unknown", b"\0\0\1\0\0" + GOOD[5:]),
    "K3_another_record": Bad("schema_subject_mismatch", encode_record(finished())),
    "K4_truncated": Bad("decode_error", GOOD[:-3]),
    "K4_varint_overflow": Bad("decode_error", enveloped(good_body(deadline_at=b"\xff" * 11))),
    "K4_union_index_7": Bad("decode_error", enveloped(good_body(temperature=long(7)))),
    "K4_union_index_below": Bad("decode_error", enveloped(good_body(temperature=long(-1)))),
    "K5_trailing": Bad("trailing_bytes", GOOD + b"\0"),
    "K6_endless_string": Bad("decode_error", enveloped(good_body(model=long(2**40)))),
    "K6_negative_length": Bad("decode_error", enveloped(good_body(model=long(-5)))),
    "K9_not_utf8": Bad("decode_error", enveloped(good_body(user=sized(b"\xff\xfe")))),
    "K9_surrogate": Bad("decode_error", enveloped(good_body(user=sized(b"\xed\xa0\x80")))),
    "K10_flipped_byte": Bad(
        "checksum_mismatch",
        GOOD.replace(b"Why?", b"Whz?"),
        headers=[("millrace-crc32c", CHECKSUM)],
    ),
    "K11_zeros": Bad("semantic_invalid", enveloped(bytes(len(inference_requested())))),
    "K12_header_twice": Bad(
        "duplicate_header",
        GOOD,
        headers=[("millrace-tenant", b"kafka"), ("millrace-tenant", b"other")],
    ),
    "K13_other_tenant": Bad(
        "tenant_mismatch",
        enveloped(good_body(tenant=sized(b"kafka"))),
        headers=[("millrace-tenant", b"other")],
    ),
    "K13_other_id": Bad(
        "header_mismatch", GOOD, headers=[("millrace-request-id", b"another-request")]
    ),
    "K25_endless_header": Bad("oversize_header", GOOD, headers=[("traceparent", b"0" * 1_000_000)]),
}


def buried(dead: TopicReader, place: tuple[str, int, int]) -> LogRecord:
    """The dead letter of a record, of which there must be exactly one."""
    dead.wait_for(lambda letter: origin(letter) == place, timeout_s=GOES_ON_S)
    (letter,) = [letter for letter in dead.read_to_end() if origin(letter) == place]
    return letter


def origin(letter: LogRecord) -> tuple[str, int, int]:
    """Where a dead letter's record lay."""
    if "kafka_dlt-original-topic" not in letter.headers:
        return ("", 0, 0)
    return (
        letter.header("kafka_dlt-original-topic").decode(),
        struct.unpack(">i", letter.header("kafka_dlt-original-partition"))[0],
        struct.unpack(">q", letter.header("kafka_dlt-original-offset"))[0],
    )


def check_letter(
    letter: LogRecord, bad: Bad, *, group: str, timestamps: bytes = b"CreateTime"
) -> None:
    """The letter holds the record untouched, and Spring's headers say where it came from."""
    assert (letter.value, letter.key) == (bad.value, bad.key)
    for name, value in bad.headers:
        assert value in letter.headers[name]
    assert letter.header("kafka_dlt-exception-fqcn") == f"millrace.{bad.reason}".encode()
    assert letter.header("kafka_dlt-original-consumer-group").decode() == group
    timestamp_ms = struct.unpack(">q", letter.header("kafka_dlt-original-timestamp"))[0]
    assert abs(timestamp_ms / 1000 - time.time()) < 60
    assert letter.header("kafka_dlt-original-timestamp-type") == timestamps
    assert len(letter.header("kafka_dlt-exception-message")) < 1000


@pytest.fixture(scope="module")
def dead_requests(stack: RunningStack) -> Iterator[TopicReader]:
    """Dead letters of the public topic."""
    with topic_reader(stack.kafka, f"{P1}-dlq") as reader:
        yield reader


@pytest.mark.parametrize("bad", BAD_PUBLIC.values(), ids=BAD_PUBLIC)
def test_a_bad_request_record_is_one_dead_letter_and_nothing_stops(
    writer: TopicWriter, dead_requests: TopicReader, terminal_of: TerminalOf, bad: Bad
) -> None:
    """Original bytes, key and headers; the next record of the partition is served within 5 s."""
    offset = writer.write(P1, bad.value, key=bad.key, headers=bad.headers)
    after = new_id()
    writer.write(P1, enveloped(good_body(request_id=sized(after.encode()))))
    assert terminal_of(after, timeout_s=GOES_ON_S)["outcome"] == "completed"
    letter = buried(dead_requests, (P1, 0, offset))
    check_letter(letter, bad, group="cache-lookup-p1", timestamps=b"LogAppendTime")


def test_a_tombstone_is_skipped(
    writer: TopicWriter, dead_requests: TopicReader, terminal_of: TerminalOf
) -> None:
    """K1: a null value means nothing here; it is no dead letter."""
    offset = writer.write(P1, None, key=b"x")
    after = new_id()
    writer.write(P1, enveloped(good_body(request_id=sized(after.encode()))))
    terminal_of(after, timeout_s=GOES_ON_S)
    assert (P1, 0, offset) not in [origin(letter) for letter in dead_requests.read_to_end()]


@pytest.mark.parametrize("key", [None, b"", b"anything", b"\xff\x00"])
def test_any_key_will_do_on_a_public_topic(
    writer: TopicWriter, terminal_of: TerminalOf, key: bytes | None
) -> None:
    """K12 and K21: neither key nor headers are asked of a producer."""
    request_id = new_id()
    writer.write(P1, enveloped(good_body(request_id=sized(request_id.encode()))), key=key)
    assert terminal_of(request_id)["outcome"] == "completed"


@pytest.mark.parametrize("text", [b"nonsense", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"])
def test_a_forged_trace_is_restarted(
    writer: TopicWriter, terminal_of: TerminalOf, text: bytes
) -> None:
    """K25: the request is served all the same."""
    request_id = new_id()
    value = enveloped(good_body(request_id=sized(request_id.encode())))
    writer.write(P1, value, headers=[("traceparent", text)])
    assert terminal_of(request_id)["outcome"] == "completed"


def headers_of(request: InferenceRequested) -> list[tuple[str, bytes]]:
    """The headers that every internal record of a request has."""
    return list(headers_of_request(request))


def bad_internal() -> dict[str, tuple[str, str, Bad]]:
    """Topic, group and record of every case; each has ids of its own."""

    def request() -> InferenceRequested:
        return requested(
            request_id=new_id(), deadline_at=int(time.time() * 1000) + 60_000, body=b"{}"
        )

    def case(topic: str, group: str, bad: Bad) -> tuple[str, str, Bad]:
        return topic, group, bad

    first, second, third, fourth, fifth, sixth = (request() for _ in range(6))
    miss = encode_record(missed(request=first))
    no_hops = encode_record(missed(request=second))[:-1]
    hopless = missed(request=second)
    assert hopless.hops, "the last byte ends an array"
    route = encode_record(routed(request=third))
    without_tenant = [(n, v) for n, v in headers_of(third) if n != "millrace-tenant"]
    group = batch(routed(request=fourth), batch_id=new_id())
    return {
        "K2_cache_misses": case("cache-misses", "router", Bad("bad_envelope", b"rubbish")),
        "K7_block_bomb": case(
            "cache-misses",
            "router",
            Bad(
                "decode_error",
                no_hops + long(20_000_000),
                headers=headers_of(second),
                key=second.request_id.encode(),
                request_id=second.request_id,
            ),
        ),
        "K12_missing_header": case(
            "routed-requests",
            "batcher",
            Bad(
                "missing_header",
                route,
                headers=without_tenant,
                key=third.request_id.encode(),
                request_id=third.request_id,
            ),
        ),
        "K13_other_tenant": case(
            "cache-misses",
            "router",
            Bad(
                "tenant_mismatch",
                miss,
                headers=[
                    (name, b"other" if name == "millrace-tenant" else value)
                    for name, value in headers_of(first)
                ],
                key=first.request_id.encode(),
                request_id=first.request_id,
            ),
        ),
        "K21_no_key": case(
            "routed-requests",
            "batcher",
            Bad(
                "bad_key",
                encode_record(routed(request=fifth)),
                headers=headers_of(fifth),
                request_id=fifth.request_id,
            ),
        ),
        "K21_wrong_key": case(
            "request-batches-p0",
            "model-caller-p0",
            Bad("bad_key", encode_record(group), key=b"wrong", request_id=fourth.request_id),
        ),
        "K3_another_record": case(
            "request-batches-p0",
            "model-caller-p0",
            Bad(
                "schema_subject_mismatch",
                encode_record(routed(request=sixth)),
                headers=headers_of(sixth),
                key=sixth.request_id.encode(),
            ),
        ),
    }


@pytest.mark.parametrize("case", bad_internal().values(), ids=bad_internal())
def test_a_bad_internal_record_is_one_dead_letter_and_ends_its_request(
    stack: RunningStack,
    writer: TopicWriter,
    terminal_of: TerminalOf,
    case: tuple[str, str, Bad],
) -> None:
    """Where an id can be read the request ends as failed; requests behind it are answered."""
    topic, group, bad = case
    offset = writer.write(topic, bad.value, key=bad.key, headers=bad.headers)
    began_s = time.monotonic()
    with stack.openai(timeout=GOES_ON_S) as client:
        client.chat.completions.create(
            **CHAT,  # type: ignore[call-overload]  # plain values
            extra_headers={"cache-control": "no-cache"},
        )
    assert time.monotonic() - began_s < GOES_ON_S
    with topic_reader(stack.kafka, f"{topic}-dlq") as dead:
        check_letter(buried(dead, (topic, 0, offset)), bad, group=group)
    if bad.request_id:
        terminal = terminal_of(bad.request_id, timeout_s=GOES_ON_S)
        assert terminal["outcome"] == "failed"
        assert terminal["error"]["code"] == "poison_record"


def test_a_bad_result_harms_nobody(stack: RunningStack, writer: TopicWriter) -> None:
    """Each reader of the results gives it up once, and goes on."""
    offset = writer.write(RESULTS, b"rubbish", key=b"x")
    with topic_reader(stack.kafka, f"{RESULTS}-dlq") as dead:
        dead.wait_for(lambda letter: origin(letter) == (RESULTS, 0, offset), timeout_s=GOES_ON_S)
    report = stack.status()
    assert report["is_ready"], report
