"""Single-flight in the look-up: records of those that wait, and their ends."""

import asyncio
import json
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from services.cache_lookup.flights import GRACE_MS, MARGIN_MS, Joiner
from services.cache_lookup.joining import Joining
from services.cache_lookup.processor import CacheLookupProcessor, LookupMetrics
from services.cache_lookup.producers import readmission
from services.shared.codec.headers import RETRY, SIGNATURE, signature
from services.shared.codec.records import encode_record
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.configuration import Configuration, KafkaProducers
from services.shared.domain.errors import MustStop, PoisonRecord
from services.shared.domain.events import (
    CacheEvidence,
    CacheMissed,
    CachePolicy,
    ControlRequested,
    Failure,
    InferenceFinished,
    InferenceRequested,
    ResultChunk,
    UsageRecorded,
)
from services.shared.domain.topics import Topic
from tests.support.example_events import finished, request_id, requested, routed
from tests.support.fake_clock import START_MS, FakeClock
from tests.support.memory_cache import MemoryCache
from tests.support.open_record import RecordInWork
from tests.support.terminals import CALL

SECRET = b"secret"
SAME = "5" * 64
CONFIGURATION = Configuration(kafka_producers=KafkaProducers(enabled=True, tenant="acme"))
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}
RESPONSE = json.dumps({"id": "chatcmpl-x", "choices": [CHOICE], "usage": None}).encode()

Record = RecordInWork[InferenceRequested]


class Lookup:
    """A cache lookup with an empty cache.

    Attributes:
        clock: Its time.
        joining: Its flights.
    """

    def __init__(self) -> None:
        """Start it."""
        self.clock = FakeClock()
        self._registry = CollectorRegistry()
        self.joining = Joining(clock=self.clock, registry=self._registry, holder="cache-lookup-0")
        self.processor = CacheLookupProcessor(
            cache=MemoryCache(),
            joining=self.joining,
            clock=self.clock,
            times=CacheTimes(CONFIGURATION),
            secret=SECRET,
            readmit=readmission(CONFIGURATION),
            metrics=LookupMetrics(self._registry),
        )

    async def ask(self, *requests: InferenceRequested) -> list[Record]:
        """Deliver requests of a gateway in one poll."""
        records = [signed(request) for request in requests]
        await self.processor.process(records)
        return records

    async def cancel(self, number: int, *, action: str = "cancel", **changes: str) -> None:
        """Deliver what somebody wants of a request, and let it have its effect."""
        fields = {"tenant": "acme", "holder": "", **changes}
        self.joining.hear(
            ControlRequested(action=action, request_id=request_id(number), at=0, **fields)
        )
        await self.joining.tidy()

    async def end(self, number: int, **changes: Any) -> None:
        """Deliver a leader's terminal record."""
        fields = {"fingerprint": SAME, "response": RESPONSE, **changes}
        event = finished(number, **fields)
        await self.joining.ended(event.request_id.encode(), encode_record(event))

    def count(self, ended: str) -> float:
        """How many joiners ended so."""
        name = "millrace_joined_requests_total"
        return self._registry.get_sample_value(name, {"ended": ended}) or 0.0

    @property
    def waiting(self) -> float | None:
        """The gauge of joiners."""
        return self._registry.get_sample_value("millrace_joiners_waiting")


def same(number: int, **changes: Any) -> InferenceRequested:
    """One of several identical requests, whose client waits on partition 3."""
    return requested(number, **{"fingerprint": SAME, "reply_partition": 3, **changes})


def signed(request: InferenceRequested, *, retry: bool = False) -> Record:
    """A record of a gateway."""
    headers = {SIGNATURE: signature(SECRET, encode_record(request))}
    if retry:
        headers[RETRY] = b"1"
    return RecordInWork(request, headers=headers, topic="inference-requests-p0")


def topics(record: Record) -> list[str]:
    """Where its records went, but for those that only say that it waits for another."""
    return [
        emit.topic
        for emit in record.emitted
        if emit.topic != Topic.CONTROL
        and not (isinstance(emit.event, ResultChunk) and emit.event.kind == "joined")
    ]


def needs(record: Record) -> list[tuple[str, str]]:
    """What it said of calls: action and request."""
    events = [emit.event for emit in record.emitted]
    return [(it.action, it.request_id) for it in events if isinstance(it, ControlRequested)]


def end_of(record: Record) -> InferenceFinished:
    """Its terminal record, which comes last."""
    event = record.emitted[-1].event
    assert isinstance(event, InferenceFinished)
    return event


def chunk_of(record: Record, place: int = -1) -> ResultChunk:
    """One of its chunks, the last by default."""
    chunks = [emit.event for emit in record.emitted if isinstance(emit.event, ResultChunk)]
    return chunks[place]


def row_of(record: Record) -> UsageRecorded:
    """Its row of the ledger."""
    (row,) = [emit.event for emit in record.emitted if isinstance(emit.event, UsageRecorded)]
    return row


async def test_a_joiner_stays_open_until_its_leader_has_ended() -> None:
    """Then it has a chunk, a row and a terminal record, and is finished."""
    lookup = Lookup()
    leader, joiner = await lookup.ask(same(1), same(2, feature="search"))
    assert (topics(leader), leader.ended.is_set()) == ([Topic.CACHE_MISSES], True)
    assert (topics(joiner), joiner.ended.is_set()) == ([], False)
    assert (lookup.waiting, lookup.joining.is_anybody_waiting.is_set()) == (1, True)
    await lookup.end(1, calls=(CALL,), cost_nanousd=1_234)
    assert topics(joiner) == [Topic.RESULT_CHUNKS, Topic.USAGE_LEDGER, Topic.INFERENCE_RESULTS]
    assert joiner.ended.is_set()
    chunk = chunk_of(joiner)
    assert (chunk.kind, chunk.attempt, chunk.seq, chunk.run) == ("end", 0, 0, "")
    assert chunk.headers == {"x-cache": "joined"}
    assert chunk.payload == end_of(joiner).response
    assert json.loads(chunk.payload)["id"] == f"chatcmpl-{request_id(2)}"
    assert end_of(joiner).cache == CacheEvidence(outcome="joined", source_request_id=request_id(1))
    assert (end_of(joiner).cost_nanousd, end_of(joiner).calls) == (0, ())
    assert [hop.service for hop in end_of(joiner).hops] == ["gateway"]
    assert (lookup.waiting, lookup.joining.is_anybody_waiting.is_set()) == (0, False)
    assert lookup.count("completed") == 1


async def test_a_join_is_a_row_of_the_ledger() -> None:
    """It cost nothing and saved what its leader cost, by that price."""
    lookup = Lookup()
    _, joiner = await lookup.ask(same(1), same(2, feature="search", user="u", tier="gold"))
    route = routed().route
    target = route.targets[0]
    priced = msgspec.structs.replace(
        route,
        targets=(
            msgspec.structs.replace(target, model="other"),
            msgspec.structs.replace(
                target, price=msgspec.structs.replace(target.price, version="prices 1")
            ),
        ),
    )
    call = msgspec.structs.replace(CALL, provider=target.provider, model=target.model)
    await lookup.end(1, calls=(call,), cost_nanousd=1_234, route=priced)
    row = row_of(joiner)
    assert (row.row_id, row.kind, row.request_id) == (
        f"{request_id(2)}-0",
        "join",
        request_id(2),
    )
    assert (row.tenant, row.key_id, row.tier, row.feature, row.user) == (
        "acme",
        "key-1",
        "gold",
        "search",
        "u",
    )
    assert (row.cost_nanousd, row.saved_nanousd, row.price_version) == (0, 1_234, "prices 1")
    assert row.usage == finished(1).usage
    assert (row.source_request_id, row.attempt, row.provider) == (request_id(1), 0, "")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="no_route"),
        pytest.param({"route": routed().route}, id="no_call"),
        pytest.param({"route": routed().route, "calls": (CALL,)}, id="no_such_target"),
    ],
)
async def test_what_was_saved_may_have_no_price(changes: dict[str, Any]) -> None:
    """Then no price table is named."""
    lookup = Lookup()
    _, joiner = await lookup.ask(same(1), same(2))
    await lookup.end(1, **changes)
    assert row_of(joiner).price_version == ""


async def test_a_stream_is_told_whom_to_follow() -> None:
    """And has no answer of its own when that ends."""
    lookup = Lookup()
    _, joiner = await lookup.ask(same(1, stream=True), same(2, stream=True))
    chunk = chunk_of(joiner)
    assert (chunk.kind, chunk.payload, chunk.run) == (
        "joined",
        request_id(1).encode(),
        request_id(1),
    )
    assert joiner.emitted[-1].partition == 3
    await lookup.end(1)
    assert topics(joiner) == [Topic.USAGE_LEDGER, Topic.INFERENCE_RESULTS]


async def test_who_follows_nobody_says_that_he_waits() -> None:
    """A chunk that names no one tells gateways that the request is under way, and whose it is."""
    lookup = Lookup()
    _, whole, producer = await lookup.ask(same(1), same(2), same(3, reply_partition=-1))
    chunk = chunk_of(whole)
    assert (chunk.kind, chunk.payload, chunk.run) == ("joined", b"", request_id(1))
    assert whole.emitted[-1].request is whole.event
    assert [emit.topic for emit in producer.emitted] == []


async def test_a_call_is_held_once_while_it_is_needed() -> None:
    """Its first joiner says so, and the last that leaves it before its end."""
    lookup = Lookup()
    due = int(START_MS) + 500
    _, one, two = await lookup.ask(same(1), same(2, deadline_at=due), same(3))
    assert (needs(one), needs(two)) == ([("hold", request_id(1))], [])
    held = next(emit for emit in one.emitted if emit.topic == Topic.CONTROL)
    assert held.key == request_id(1)
    assert isinstance(held.event, ControlRequested)
    assert (held.event.holder, held.event.tenant) == ("cache-lookup-0", "acme")
    lookup.clock.advance(0.5)
    await lookup.joining.tidy()
    assert needs(one) == [("hold", request_id(1))]
    await lookup.cancel(3)
    assert needs(two) == [("release", request_id(1))]
    (again,) = await lookup.ask(same(4))
    assert needs(again) == [("hold", request_id(1))]
    await lookup.end(1)
    assert needs(again) == [("hold", request_id(1))]


@pytest.mark.parametrize("streams", [True, False])
async def test_a_joiner_is_cancelled_by_itself(*, streams: bool) -> None:
    """It has its chunk, its row and its terminal record; the leader and the others go on."""
    lookup = Lookup()
    _, joiner, other = await lookup.ask(*(same(number, stream=streams) for number in (1, 2, 3)))
    await lookup.cancel(2, tenant="other")
    await lookup.cancel(9)
    assert not joiner.ended.is_set()
    await lookup.cancel(2)
    assert topics(joiner) == [Topic.USAGE_LEDGER, Topic.RESULT_CHUNKS, Topic.INFERENCE_RESULTS]
    chunk = chunk_of(joiner)
    assert (chunk.kind, chunk.status, chunk.headers["x-cache"]) == ("error", 499, "joined")
    row = row_of(joiner)
    assert (row.kind, row.row_id) == ("join", f"{request_id(2)}-0")
    assert (row.error_code, row.cost_nanousd, row.saved_nanousd) == ("request_cancelled", 0, 0)
    assert row.source_request_id == request_id(1)
    end = end_of(joiner)
    assert (end.outcome, end.cache.source_request_id) == ("cancelled", request_id(1))
    assert (lookup.count("cancelled"), lookup.waiting, needs(joiner)[1:]) == (1, 1, [])
    await lookup.end(1)
    assert end_of(other).outcome == "completed"
    assert joiner.ended.is_set()
    assert len([emit for emit in joiner.emitted if emit.topic == Topic.INFERENCE_RESULTS]) == 1


async def test_a_request_that_was_given_up_before_joins_nobody() -> None:
    """It ends as cancelled, also where it comes again after a crash."""
    lookup = Lookup()
    await lookup.ask(same(1))
    await lookup.cancel(2)
    (joiner,) = await lookup.ask(same(2))
    assert (end_of(joiner).outcome, joiner.ended.is_set()) == ("cancelled", True)
    assert (needs(joiner), lookup.waiting) == ([], 0)


async def test_joiners_wait_on_when_their_leader_is_given_up() -> None:
    """Its call goes on for them, so others may join it too, and all have its answer."""
    lookup = Lookup()
    _, joiner = await lookup.ask(same(1), same(2))
    await lookup.cancel(1)
    (late,) = await lookup.ask(same(3))
    assert (topics(joiner), topics(late)) == ([], [])
    await lookup.end(1, outcome="cancelled", cost_nanousd=1_234)
    for record in (joiner, late):
        assert (end_of(record).outcome, row_of(record).saved_nanousd) == ("completed", 1_234)
    (later,) = await lookup.ask(same(4))
    assert end_of(later).outcome == "completed", "its answer is kept for a moment as any"


async def test_nobody_joins_a_leader_whose_call_is_stopped() -> None:
    """Given up before anybody had joined it, or after the last had left it."""
    lookup = Lookup()
    await lookup.ask(same(1))
    await lookup.cancel(1)
    _, joiner = await lookup.ask(same(2), same(3))
    assert joiner.ended.is_set() is False
    assert chunk_of(joiner).run == request_id(2)
    await lookup.cancel(2)
    await lookup.cancel(3)
    assert needs(joiner) == [("hold", request_id(2)), ("release", request_id(2))]
    (alone,) = await lookup.ask(same(4))
    assert topics(alone) == [Topic.CACHE_MISSES]


async def test_leaders_of_before_are_joined_as_long_as_their_calls_go_on() -> None:
    """One that was given up is joined where a process says that it needs its call."""
    lookup = Lookup()
    await lookup.cancel(1)
    await lookup.cancel(2)
    await lookup.cancel(2, action="hold", holder="cache-lookup-0")
    other = "6" * 64
    lookup.joining.found(
        [
            CacheMissed(request=same(1), cache=CacheEvidence()),
            CacheMissed(request=same(2, fingerprint=other), cache=CacheEvidence()),
        ]
    )
    lost, held = await lookup.ask(same(3), same(4, fingerprint=other))
    assert (topics(lost), topics(held)) == ([Topic.CACHE_MISSES], [])


async def test_an_answer_that_has_come_outlives_its_request() -> None:
    """Who gives up what has ended takes nothing from those who come late."""
    lookup = Lookup()
    await lookup.ask(same(1))
    await lookup.end(1)
    await lookup.cancel(1)
    (late,) = await lookup.ask(same(2))
    assert end_of(late).outcome == "completed"


async def test_a_cancellation_is_heard_while_nothing_else_happens() -> None:
    """The one who keeps deadlines does not wait for his next round."""
    lookup = Lookup()
    _, joiner = await lookup.ask(same(1), same(2))
    tending = asyncio.ensure_future(lookup.joining.tend())
    await asyncio.sleep(0)
    lookup.joining.hear(
        ControlRequested(action="cancel", request_id=request_id(2), tenant="acme", at=0)
    )
    async with asyncio.timeout(0.2):
        await joiner.ended.wait()
    tending.cancel()
    assert end_of(joiner).outcome == "cancelled"


async def test_a_stream_behind_a_whole_answer_is_replayed() -> None:
    """In pieces, as a hit is."""
    lookup = Lookup()
    _, joiner = await lookup.ask(same(1), same(2, stream=True))
    await lookup.end(1)
    frames = [json.loads(line) for line in chunk_of(joiner).payload.split(b"\n")]
    assert "".join(it["choices"][0]["delta"].get("content", "") for it in frames) == "Hi."


async def test_only_a_gateway_says_that_a_request_is_a_repetition() -> None:
    """A header that anybody wrote is not believed."""
    lookup = Lookup()
    fresh = CachePolicy(no_cache=True)
    await lookup.ask(same(1, cache_policy=fresh))
    repetition = signed(same(2, cache_policy=fresh), retry=True)
    forged = signed(same(3, cache_policy=fresh), retry=True)
    forged.headers[SIGNATURE] = b"forged"
    await lookup.processor.process([repetition, forged])
    assert not repetition.ended.is_set()
    assert forged.ended.is_set()


async def test_a_poll_that_is_processed_again_joins_once() -> None:
    """After another of its records broke the processor: who waits, goes on waiting."""
    lookup = Lookup()
    _, joiner = await lookup.ask(same(1), same(2))
    await lookup.processor.process([joiner])
    assert (topics(joiner), lookup.waiting) == ([], 1)
    await lookup.end(1)
    assert end_of(joiner).outcome == "completed"


async def test_another_record_of_who_waits_goes_on() -> None:
    """A producer that uses an id twice cannot block itself."""
    lookup = Lookup()
    _, _, again = await lookup.ask(same(1), same(2), same(2))
    assert (topics(again), again.ended.is_set()) == ([Topic.CACHE_MISSES], True)


async def test_a_leader_that_comes_again_passes_on() -> None:
    """It must not wait for itself."""
    lookup = Lookup()
    _, again = await lookup.ask(same(1), same(1))
    assert (topics(again), again.ended.is_set()) == ([Topic.CACHE_MISSES], True)


async def test_an_error_is_shared() -> None:
    """As a chunk and a terminal record of the joiner's own, with a row that saved nothing."""
    lookup = Lookup()
    _, joiner = await lookup.ask(same(1, stream=True), same(2, stream=True))
    error = Failure(code="content_filter", message="No.", status=400, fault="policy")
    await lookup.end(1, outcome="failed", error=error, response=b"")
    chunk = chunk_of(joiner, 1)
    assert (chunk.kind, chunk.status, chunk.headers["x-cache"]) == ("error", 400, "joined")
    end = end_of(joiner)
    assert end.error == error
    assert (end.outcome, end.cache.outcome) == ("failed", "joined")
    assert (row_of(joiner).error_code, row_of(joiner).saved_nanousd) == ("content_filter", 0)
    assert lookup.count("failed") == 1


async def test_joiners_run_again_without_their_leader() -> None:
    """The first leads by its own miss, and the others are told anew whom to follow."""
    lookup = Lookup()
    _, second, third = await lookup.ask(*(same(number, stream=True) for number in (1, 2, 3)))
    await lookup.end(1, outcome="cancelled", response=b"")
    assert second.ended.is_set()
    missed = second.emitted[-1].event
    assert isinstance(missed, CacheMissed)
    assert (missed.cache.outcome, missed.request) == ("miss", same(2, stream=True))
    assert [hop.service for hop in missed.hops] == ["gateway"]
    assert chunk_of(third, 1).payload == request_id(2).encode()
    await lookup.end(2)
    assert end_of(third).cache.source_request_id == request_id(2)
    assert (lookup.count("run_again"), lookup.count("completed")) == (1, 1)


async def test_a_repetition_runs_again_past_the_cache() -> None:
    """Its evidence stays what it was."""
    lookup = Lookup()
    fresh = CachePolicy(no_cache=True)
    await lookup.ask(same(1, cache_policy=fresh))
    records = [signed(same(n, cache_policy=fresh), retry=True) for n in (2, 3)]
    await lookup.processor.process(records)
    await lookup.end(1, outcome="expired", response=b"")
    missed = records[0].emitted[-1].event
    assert isinstance(missed, CacheMissed)
    assert missed.cache.outcome == "bypass"
    await lookup.end(2)
    assert end_of(records[1]).cache.source_request_id == request_id(2)


async def test_faults_of_ours_are_not_repeated_for_ever() -> None:
    """Five identical requests that break us are three calls, and all of them end."""
    lookup = Lookup()
    records = await lookup.ask(*(same(number) for number in range(1, 6)))
    error = Failure(code="internal_error", message="Broken.", status=500, fault="gateway")
    for number in (1, 2, 3):
        await lookup.end(number, outcome="failed", error=error, response=b"")
    assert all(record.ended.is_set() for record in records)
    calls = [it for it in records if topics(it) == [Topic.CACHE_MISSES]]
    assert len(calls) == 3
    assert [end_of(it).outcome for it in records[3:]] == ["failed", "failed"]


async def test_who_runs_again_may_find_an_answer() -> None:
    """Another leader of the same has landed meanwhile."""
    lookup = Lookup()
    await lookup.ask(same(1, priority=2))
    _, joiner = await lookup.ask(same(2, priority=0), same(3, priority=0))
    await lookup.end(2, outcome="cancelled", response=b"")
    assert topics(joiner) == [Topic.CACHE_MISSES], "no leader in a slower lane is waited for"
    late = (await lookup.ask(same(4, priority=2)))[0]
    await lookup.end(3)
    await lookup.end(1, outcome="cancelled", response=b"")
    assert end_of(late).outcome == "completed"


async def test_a_latecomer_gets_the_answer_that_has_just_come() -> None:
    """For a second; a failure is nobody's answer."""
    lookup = Lookup()
    await lookup.ask(same(1))
    await lookup.end(1)
    (late,) = await lookup.ask(same(2, stream=True))
    assert chunk_of(late).kind == "end"
    assert (end_of(late).cache.outcome, late.ended.is_set()) == ("joined", True)
    lookup.clock.advance(GRACE_MS / 1000)
    await lookup.joining.tidy()
    (later,) = await lookup.ask(same(3))
    assert topics(later) == [Topic.CACHE_MISSES]
    await lookup.end(3, outcome="failed", response=b"")
    (last,) = await lookup.ask(same(4))
    assert topics(last) == [Topic.CACHE_MISSES]


async def test_an_end_that_cannot_be_read_ends_nobody() -> None:
    """The first that can be read is the end."""
    lookup = Lookup()
    _, joiner = await lookup.ask(same(1), same(2))
    await lookup.joining.ended(request_id(1).encode(), b"garbage")
    assert not joiner.ended.is_set()
    await lookup.end(1)
    assert end_of(joiner).outcome == "completed"
    await lookup.ask(same(3, fingerprint="6" * 64))
    await lookup.joining.ended(request_id(3).encode(), b"garbage")
    (late,) = await lookup.ask(same(4, fingerprint="6" * 64))
    assert topics(late) == [Topic.CACHE_MISSES]


async def test_the_first_end_is_the_truth() -> None:
    """A second one, or that of a stranger, changes nothing."""
    lookup = Lookup()
    await lookup.ask(same(1))
    await lookup.end(1)
    await lookup.end(1, outcome="failed", response=b"")
    await lookup.end(9)
    (late,) = await lookup.ask(same(2))
    assert end_of(late).outcome == "completed"


async def test_a_deadline_is_kept() -> None:
    """The joiner ends; its leader and the others go on."""
    lookup = Lookup()
    _, soon, later = await lookup.ask(
        same(1), same(2, deadline_at=int(START_MS) + 500), same(3, stream=True)
    )
    lookup.clock.advance(0.499)
    await lookup.joining.tidy()
    assert not soon.ended.is_set()
    lookup.clock.advance(0.001)
    await lookup.joining.tidy()
    assert (end_of(soon).outcome, chunk_of(soon).status) == ("expired", 504)
    assert row_of(soon).error_code == "deadline_exceeded"
    assert (lookup.waiting, lookup.count("expired"), later.ended.is_set()) == (1, 1, False)


async def test_a_leader_that_never_ends_is_given_up() -> None:
    """A while after its deadline; a joiner without one goes on by itself."""
    lookup = Lookup()
    _, joiner = await lookup.ask(same(1), same(2, deadline_at=0))
    lookup.clock.advance(60 + MARGIN_MS / 1000 - 0.001)
    await lookup.joining.tidy()
    assert topics(joiner) == []
    lookup.clock.advance(0.001)
    await lookup.joining.tidy()
    assert topics(joiner) == [Topic.CACHE_MISSES]


async def test_records_of_before_wait_for_word_of_leaders_of_before() -> None:
    """A redelivered joiner meets its leader again, though its record comes first."""
    lookup = Lookup()
    joiner = RecordInWork(
        same(2),
        headers=signed(same(2)).headers,
        topic="inference-requests-p0",
        timestamp_ms=int(START_MS) - 1,
    )
    processing = asyncio.ensure_future(lookup.processor.process([joiner]))
    await asyncio.sleep(0)
    assert not processing.done()
    lookup.joining.found([CacheMissed(request=same(1), cache=CacheEvidence())])
    await processing
    await lookup.end(1)
    assert end_of(joiner).cache.source_request_id == request_id(1)


async def test_word_that_never_comes_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call too many is better than a request that stands still; and that once."""
    monkeypatch.setattr("services.cache_lookup.joining._INFORMED_WITHIN_S", 0.001)
    lookup = Lookup()
    for number in (1, 2):
        record = signed(same(number, fingerprint=f"{number}" * 64))
        record.timestamp_ms -= 1
        await lookup.processor.process([record])
        assert topics(record) == [Topic.CACHE_MISSES]
        assert lookup.joining._is_informed.is_set()


async def test_what_has_ended_does_not_run_again() -> None:
    """A record of before whose request has its end is passed over; a later one is not."""
    lookup = Lookup()
    lookup.joining.assigned()
    lookup.joining.found([])
    lookup.joining.over({request_id(1).encode()})
    lookup.joining.over({request_id(9).encode()})
    record = signed(same(1))
    record.timestamp_ms -= 1
    await lookup.processor.process([record])
    assert record.ended.is_set()
    assert topics(record) == []
    (again,) = await lookup.ask(same(1))
    assert topics(again) == [Topic.CACHE_MISSES]


async def test_leaders_of_before_are_joined() -> None:
    """Those that were on their way when this process began; past the cache by repetitions only."""
    lookup = Lookup()
    misses = [
        CacheMissed(request=same(1), cache=CacheEvidence()),
        CacheMissed(request=same(2, fingerprint="6" * 64), cache=CacheEvidence(outcome="bypass")),
        CacheMissed(
            request=same(3, fingerprint="7" * 64, deadline_at=int(START_MS)), cache=CacheEvidence()
        ),
    ]
    lookup.joining.found(misses)
    assert request_id(1).encode() in lookup.joining.leaders
    one, past, late = await lookup.ask(
        same(4), same(5, fingerprint="6" * 64), same(6, fingerprint="7" * 64)
    )
    assert [record.ended.is_set() for record in (one, past, late)] == [False, True, True]


@pytest.mark.parametrize(
    ("failing", "reason"),
    [
        pytest.param(PoisonRecord("oversize", "too large"), "oversize", id="too_large"),
        pytest.param(ValueError("broken"), "processor_error", id="broken"),
    ],
)
async def test_who_cannot_be_ended_is_given_up(failing: Exception, reason: str) -> None:
    """As a dead letter; the others have their answer."""
    lookup = Lookup()
    records = await lookup.ask(*(same(number) for number in range(1, 4)))
    records[1].failing = failing
    await lookup.end(1)
    assert records[1].buried is not None
    assert records[1].buried.reason == reason
    assert end_of(records[2]).outcome == "completed"


async def test_an_answer_that_cannot_be_rendered_costs_only_those_who_want_it() -> None:
    """They become dead letters; the process goes on."""
    lookup = Lookup()
    _, joiner = await lookup.ask(same(1), same(2))
    await lookup.end(1, response=b"no JSON")
    assert joiner.buried is not None


async def test_a_process_that_must_stop_stops() -> None:
    """It is no fault of the joiner's record."""
    lookup = Lookup()
    _, joiner = await lookup.ask(same(1), same(2))
    joiner.failing = MustStop("fenced")
    with pytest.raises(MustStop):
        await lookup.end(1)
    assert not joiner.ended.is_set()


async def test_a_joiner_whose_leader_ends_at_once_is_told_nothing_more() -> None:
    """The end may come between the decision and the word about it."""
    lookup = Lookup()
    await lookup.ask(same(1, stream=True))
    joiner = signed(same(2, stream=True))
    waiting = lookup.joining.place(joiner, joiner.event, bypasses=False, is_retry=False, hops=())
    await lookup.end(1)
    assert isinstance(waiting, Joiner)
    await lookup.joining.announce(waiting)
    assert topics(joiner) == [Topic.USAGE_LEDGER, Topic.INFERENCE_RESULTS]
