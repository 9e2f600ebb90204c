"""The cache lookup: admission, one round trip a poll, answers and misses."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from services.cache_lookup.joining import Joining
from services.cache_lookup.processor import CacheLookupProcessor, LookupMetrics
from services.cache_lookup.producers import readmission
from services.shared.codec.headers import SIGNATURE, TRACEPARENT, signature
from services.shared.codec.records import encode_record
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.configuration import Cache, CacheTtl, Configuration, KafkaProducers
from services.shared.domain.emit import Emit
from services.shared.domain.events import (
    CacheEntry,
    CacheMissed,
    CachePolicy,
    InferenceFinished,
    InferenceRequested,
    ResultChunk,
    UsageRecorded,
)
from services.shared.domain.money import Usage
from services.shared.domain.topics import Topic
from tests.support.example_events import BODY, request_id, requested
from tests.support.example_events import TRACEPARENT as TRACE
from tests.support.fake_clock import START_MS, FakeClock
from tests.support.memory_cache import MemoryCache
from tests.support.open_record import RecordInWork

SECRET = b"secret"
NOW_MS = START_MS + 40
CLOCK = FakeClock(now_ms=NOW_MS)
RESPONSE = {
    "id": "chatcmpl-old",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Deep."}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 9},
}
OPEN = Configuration(
    cache=Cache(ttl_s=CacheTtl(chat=60, text_completion=0)),
    kafka_producers=KafkaProducers(enabled=True, tenant="kafka", tier="bulk"),
)


class Lookup:
    """A cache lookup.

    Attributes:
        cache: Its cache.
        registry: Its metrics.
        seen: Priorities of the requests that it saw.
    """

    def __init__(self, configuration: Configuration = OPEN) -> None:
        """Start it with an empty cache."""
        self.cache = MemoryCache()
        self.registry = CollectorRegistry()
        self.seen: list[int] = []
        joining = Joining(clock=CLOCK, registry=self.registry)
        joining.found([])
        self._processor = CacheLookupProcessor(
            cache=self.cache,
            joining=joining,
            clock=CLOCK,
            times=CacheTimes(configuration),
            secret=SECRET,
            readmit=readmission(configuration),
            metrics=LookupMetrics(self.registry),
            saw=self.seen.append,
        )

    def keep(self, number: int = 1, *, age_s: int = 5, **changes: Any) -> None:
        """Keep an answer to a request of ``requested``."""
        request = requested(number)
        fields: dict[str, Any] = {
            "fingerprint": request.fingerprint,
            "tenant": request.tenant,
            "request_id": "req_source",
            "operation": request.operation,
            "response": msgspec.json.encode(RESPONSE),
            "usage": Usage(input_tokens=9, output_tokens=2),
            "stored_at": int(NOW_MS) - age_s * 1000,
        }
        entry = CacheEntry(**{**fields, **changes})
        self.cache.entries[request.fingerprint] = encode_record(entry)

    async def poll(self, *works: RecordInWork[InferenceRequested]) -> list[list[Emit]]:
        """What becomes of the records of a poll."""
        await self._processor.process(works)
        return [work.emitted for work in works]

    def count(self, outcome: str) -> float | None:
        """How often it happened."""
        name = "millrace_cache_lookups_total"
        return self.registry.get_sample_value(name, {"outcome": outcome})


def signed(request: InferenceRequested) -> RecordInWork[InferenceRequested]:
    """A record that a gateway of ours wrote, 25 ms after it accepted the request."""
    headers = {SIGNATURE: signature(SECRET, encode_record(request))}
    at_ms = request.accepted_at + 25
    topic = "inference-requests-p0"
    return RecordInWork(request, headers=headers, topic=topic, timestamp_ms=at_ms)


def produced(
    request: InferenceRequested,
    *,
    topic: str = "inference-requests-p1",
    headers: dict[str, bytes] | None = None,
) -> RecordInWork[InferenceRequested]:
    """A record that anybody wrote."""
    return RecordInWork(request, headers=headers, topic=topic, timestamp_ms=int(START_MS))


def bare(**changes: Any) -> InferenceRequested:
    """What a producer has to write."""
    return InferenceRequested(
        **{"request_id": "my-request", "operation": "chat", "body": BODY} | changes
    )


def missed_of(emits: Sequence[Emit]) -> CacheMissed:
    """The only record, a miss."""
    (emit,) = emits
    assert emit.topic is Topic.CACHE_MISSES
    assert isinstance(emit.event, CacheMissed)
    assert emit.key == emit.event.request.request_id
    return emit.event


def finished_of(emits: Sequence[Emit]) -> InferenceFinished:
    """The terminal record, which comes last."""
    event = emits[-1].event
    assert isinstance(event, InferenceFinished)
    return event


async def test_a_miss_passes_the_request_on() -> None:
    """As it came, with the hop of the front door."""
    lookup = Lookup()
    request = requested(reply_partition=3, priority=1)
    (emits,) = await lookup.poll(signed(request))
    missed = missed_of(emits)
    assert missed.request == request
    assert missed.cache.outcome == "miss"
    (hop,) = missed.hops
    assert (hop.service, hop.topic, hop.received_ms, hop.finished_ms) == ("gateway", "", 0, 25)
    assert lookup.seen == [1]
    assert lookup.count("miss") == 1


async def test_a_hit_answers_the_waiting_client_and_ends_the_request() -> None:
    """Under the new request's id, with the evidence; at no cost."""
    lookup = Lookup()
    lookup.keep(age_s=7)
    (emits,) = await lookup.poll(signed(requested(reply_partition=3)))
    chunk = emits[0].event
    assert isinstance(chunk, ResultChunk)
    assert (emits[0].topic, emits[0].partition) == (Topic.RESULT_CHUNKS, 3)
    assert (chunk.kind, chunk.seq, chunk.attempt, chunk.status) == ("end", 0, 0, 200)
    assert chunk.headers == {
        "x-cache": "exact_hit",
        "age": "7",
        "x-millrace-cache-source": "req_source",
    }
    finished = finished_of(emits)
    assert chunk.payload == finished.response
    assert json.loads(finished.response) == {**RESPONSE, "id": f"chatcmpl-{request_id()}"}
    assert (finished.outcome, finished.cache.outcome) == ("completed", "exact_hit")
    assert (finished.calls, finished.cost_nanousd) == ((), 0)
    assert finished.usage == Usage(input_tokens=9, output_tokens=2)
    assert [hop.service for hop in finished.hops] == ["gateway"]


async def test_a_hit_of_a_stream_is_one_chunk_of_fragments() -> None:
    """The stream is replayed at once; its record has the whole answer."""
    lookup = Lookup()
    lookup.keep()
    (emits,) = await lookup.poll(signed(requested(reply_partition=3, stream=True)))
    chunk = emits[0].event
    assert isinstance(chunk, ResultChunk)
    lines = [json.loads(line) for line in chunk.payload.split(b"\n")]
    assert "".join(it["choices"][0]["delta"].get("content", "") for it in lines) == "Deep."
    assert json.loads(finished_of(emits).response)["choices"] == RESPONSE["choices"]


async def test_embeddings_are_never_a_stream() -> None:
    """Whatever the request says."""
    lookup = Lookup()
    lookup.keep(operation="embeddings", response=b'{"data":[]}')
    request = requested(operation="embeddings", reply_partition=3, stream=True)
    (emits,) = await lookup.poll(signed(request))
    assert isinstance(emits[0].event, ResultChunk)
    assert emits[0].event.payload == b'{"data":[]}'


async def test_a_hit_for_nobody_has_no_chunk() -> None:
    """A Kafka producer reads the terminal record."""
    lookup = Lookup()
    lookup.keep()
    (emits,) = await lookup.poll(signed(requested()))
    assert [emit.topic for emit in emits] == [Topic.USAGE_LEDGER, Topic.INFERENCE_RESULTS]


async def test_a_hit_is_a_row_of_the_ledger() -> None:
    """It cost nothing; what it saved is told in tokens, as an entry has no price."""
    lookup = Lookup()
    lookup.keep()
    (emits,) = await lookup.poll(signed(requested(feature="search")))
    row = emits[0].event
    assert isinstance(row, UsageRecorded)
    assert emits[0].key == row.tenant == "acme"
    assert (row.row_id, row.kind) == (f"{request_id()}-0", "hit")
    assert (row.source_request_id, row.feature, row.key_id) == ("req_source", "search", "key-1")
    assert row.usage == Usage(input_tokens=9, output_tokens=2)
    assert (row.cost_nanousd, row.saved_nanousd, row.attempt) == (0, 0, 0)


async def test_a_poll_is_one_round_trip() -> None:
    """Each fingerprint is asked for once; what is not looked up is not asked for."""
    lookup = Lookup()
    lookup.keep(2)
    polled = await lookup.poll(
        signed(requested(1)),
        signed(requested(2)),
        signed(requested(3, fingerprint=requested(2).fingerprint)),
        signed(requested(4, cache_policy=CachePolicy(no_cache=True))),
        signed(requested(5, deadline_at=int(NOW_MS))),
        produced(bare(body=b"{")),
    )
    assert lookup.cache.reads == [[requested(1).fingerprint, requested(2).fingerprint]]
    assert [emits[-1].topic for emits in polled] == [
        Topic.CACHE_MISSES,
        Topic.INFERENCE_RESULTS,
        Topic.INFERENCE_RESULTS,
        Topic.CACHE_MISSES,
        Topic.INFERENCE_RESULTS,
        Topic.INFERENCE_RESULTS,
    ]
    assert missed_of(polled[3]).cache.outcome == "bypass"
    assert finished_of(polled[4]).outcome == "expired"


async def test_nothing_to_look_up_asks_nobody() -> None:
    """No round trip for a poll of bypasses."""
    lookup = Lookup()
    await lookup.poll(signed(requested(cache_policy=CachePolicy(no_cache=True))))
    assert lookup.cache.reads == []


async def test_a_cache_that_is_away_is_a_miss() -> None:
    """Nobody gets an error for it; it is counted."""
    lookup = Lookup()
    lookup.keep()
    lookup.cache.is_available = False
    (emits,) = await lookup.poll(signed(requested()))
    assert missed_of(emits).cache.outcome == "miss"
    assert lookup.count("error") == 1


async def test_an_entry_that_cannot_be_read_is_forgotten() -> None:
    """It counts as a miss, and is gone for the next one."""
    lookup = Lookup()
    lookup.cache.entries[requested().fingerprint] = b"\0\0\0\0\x07garbage"
    (emits,) = await lookup.poll(signed(requested()))
    assert missed_of(emits).cache.outcome == "miss"
    assert lookup.cache.entries == {}
    assert lookup.count("spoilt") == 1


async def test_a_spoilt_entry_that_cannot_be_deleted_is_let_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It expires by itself; the request goes on."""
    lookup = Lookup()
    lookup.cache.entries[requested().fingerprint] = b"garbage"

    async def delete(keys: Sequence[str]) -> None:
        del keys
        lookup.cache.is_available = False
        lookup.cache._check()

    monkeypatch.setattr(lookup.cache, "delete", delete)
    (emits,) = await lookup.poll(signed(requested()))
    assert missed_of(emits).cache.outcome == "miss"


async def test_another_tenant_s_entry_is_not_served() -> None:
    """A store that mixes up keys is found out."""
    lookup = Lookup()
    lookup.keep(tenant="other")
    (emits,) = await lookup.poll(signed(requested()))
    assert missed_of(emits).cache.outcome == "miss"
    assert lookup.count("foreign") == 1


async def test_a_request_past_its_deadline_ends_here() -> None:
    """The client that still waits is told."""
    lookup = Lookup()
    (emits,) = await lookup.poll(signed(requested(reply_partition=3, deadline_at=int(NOW_MS))))
    chunk = emits[0].event
    assert isinstance(chunk, ResultChunk)
    assert (chunk.kind, chunk.status) == ("error", 504)
    finished = finished_of(emits)
    assert (finished.outcome, finished.hops[0].service) == ("expired", "gateway")


# -- records of Kafka producers --------------------------------------------------------------------


async def test_a_producer_s_record_becomes_what_a_gateway_would_have_made() -> None:
    """Body, time, topic and account decide; a trace in its headers is followed."""
    lookup = Lookup()
    record = produced(bare(), headers={TRACEPARENT: TRACE.encode()})
    (emits,) = await lookup.poll(record)
    missed = missed_of(emits)
    request = missed.request
    assert (request.tenant, request.tier, request.key_id) == ("kafka", "bulk", "")
    assert (request.model, request.priority) == ("small", 1)
    assert request.accepted_at == int(START_MS)
    assert request.deadline_at > request.accepted_at
    assert request.traceparent == TRACE
    assert len(request.fingerprint) == 64
    assert [hop.service for hop in missed.hops] == ["producer"]


async def test_its_own_trace_context_wins_over_the_header_s() -> None:
    """The value is the record."""
    other = TRACE.replace("0af7", "1111")
    (emits,) = await Lookup().poll(
        produced(bare(traceparent=other), headers={TRACEPARENT: TRACE.encode()})
    )
    assert missed_of(emits).request.traceparent == other


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"tenant": "acme"}, "contradictory_record", id="tenant"),
        pytest.param({"model": "other"}, "contradictory_record", id="model"),
        pytest.param({"request_id": "x"}, "invalid_value", id="request_id"),
        pytest.param({"operation": "shopping"}, "invalid_value", id="operation"),
        pytest.param({"body": b"{"}, "json_invalid", id="body"),
        pytest.param({"body": b"{}"}, "missing_required_parameter", id="empty_body"),
    ],
)
async def test_what_is_no_valid_request_is_refused(changes: dict[str, Any], code: str) -> None:
    """With a terminal record of the 400 class, on the producers' account."""
    (emits,) = await Lookup().poll(produced(bare(**changes)))
    finished = finished_of(emits)
    assert finished.error is not None
    assert (finished.error.code, finished.error.status) == (code, 400)
    assert (finished.outcome, finished.tenant, finished.priority) == ("failed", "kafka", 1)


async def test_a_refused_record_s_word_is_not_believed() -> None:
    """Neither whose it is, who waits, what it may be kept under, nor when it came."""
    liar = requested(
        1,
        tenant="acme",
        reply_partition=3,
        key_id="key-1",
        tier="gold",
        feature="f",
        user="u",
        operation="x" * 1000,
        model="m" * 1000,
        accepted_at=5,
        deadline_at=6,
        traceparent="nonsense",
    )
    (emits,) = await Lookup().poll(produced(liar))
    (ending,) = emits
    finished = finished_of(emits)
    assert (ending.topic, finished.request_id) == (Topic.INFERENCE_RESULTS, request_id())
    assert (finished.tenant, finished.key_id, finished.tier) == ("kafka", "", "")
    assert (finished.feature, finished.user, finished.fingerprint) == ("", "", "")
    assert (finished.operation, finished.model) == ("", "m" * 128)
    assert finished.accepted_at == int(NOW_MS)
    assert ending.request is not None
    assert (ending.request.traceparent, ending.request.deadline_at) == ("", 0)
    assert [hop.service for hop in finished.hops] == ["producer"]


async def test_a_forged_reply_partition_reaches_nobody() -> None:
    """A valid record of a producer names no client that would hear of it."""
    (emits,) = await Lookup().poll(produced(bare(reply_partition=3)))
    assert missed_of(emits).request.reply_partition == -1


async def test_a_wrong_signature_is_none() -> None:
    """A record that was changed on its way is anybody's record."""
    record = signed(requested(reply_partition=3))
    record.event = msgspec.structs.replace(record.event, tenant="kafka", priority=2)
    (emits,) = await Lookup().poll(record)
    request = missed_of(emits).request
    assert (request.reply_partition, request.priority, request.key_id) == (-1, 0, "")


async def test_producers_are_refused_where_they_are_not_served() -> None:
    """A gateway's records still pass."""
    lookup = Lookup(msgspec.structs.replace(OPEN, kafka_producers=KafkaProducers(enabled=False)))
    refused, passed = await lookup.poll(
        produced(bare(), headers={TRACEPARENT: TRACE.encode()}), signed(requested())
    )
    finished = finished_of(refused)
    assert finished.error is not None
    assert finished.error.code == "invalid_api_key"
    assert (finished.tenant, finished.operation, finished.model) == ("kafka", "chat", "")
    assert refused[-1].request is not None
    assert refused[-1].request.traceparent == TRACE
    assert missed_of(passed).request == requested()


async def test_answers_of_some_kinds_are_never_looked_up() -> None:
    """Where nothing is kept, nothing is asked for."""
    lookup = Lookup()
    (emits,) = await lookup.poll(signed(requested(operation="text_completion")))
    assert missed_of(emits).cache.outcome == "bypass"
    off = Lookup(msgspec.structs.replace(OPEN, cache=Cache(enabled=False)))
    (emits,) = await off.poll(signed(requested()))
    assert missed_of(emits).cache.outcome == "bypass"
    assert lookup.cache.reads == off.cache.reads == []


async def test_a_request_that_made_the_entry_itself_has_its_end() -> None:
    """It comes again after a crash: no second end, and no row of a hit that nobody had."""
    lookup = Lookup()
    request = requested(1)
    lookup.keep(request_id=request.request_id)
    assert await lookup.poll(signed(request)) == [[]]
    assert lookup.count("ended") == 1
