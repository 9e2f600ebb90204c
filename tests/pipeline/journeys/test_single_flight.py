"""Identical requests at once: one call, and everybody gets his own end."""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.shared.domain.configuration_output import FeatureOutput
from services.shared.domain.events import (
    CacheMissed,
    CachePolicy,
    ResultChunk,
    UsageRecorded,
)
from services.shared.domain.topics import Topic
from tests.pipeline.journeys.travel import Travel, cancel, check_hops, message_of, text_of
from tests.support.example_events import BODY, finished, request_id
from tests.support.pipeline import Pipeline, running_pipeline
from tests.support.scripted_provider import (
    ENDING,
    FOREVER,
    Asked,
    Script,
    ScriptedProvider,
    embedded,
    piece,
    refused,
    streamed,
    whole,
)
from tests.support.stages import configuration, publish

SAME = "5" * 64


def slowly(asked: Asked) -> Script:
    """Two seconds for an answer, its first word at once where it is streamed."""
    if asked.body.get("stream"):
        return streamed(piece("De"), 2.0, piece("ep."), *ENDING)
    return whole(frames=[2.0])


def rows_of(pipeline: Pipeline) -> list[UsageRecorded]:
    """The ledger's rows of hits and joins."""
    rows = [it for it in pipeline.read_output(Topic.USAGE_LEDGER) if isinstance(it, UsageRecorded)]
    return [row for row in rows if row.kind in {"hit", "join"}]


def misses_of(pipeline: Pipeline) -> list[str]:
    """Ids of the requests that were passed on, in order."""
    missed = pipeline.read_output(Topic.CACHE_MISSES)
    return [it.request.request_id for it in missed if isinstance(it, CacheMissed)]


def kinds(chunks: list[ResultChunk]) -> list[str]:
    """What the chunks are."""
    return [chunk.kind for chunk in chunks]


@pytest.mark.parametrize("streams", [True, False])
async def test_a_hundred_identical_requests_are_one_call(
    pipeline: Pipeline, *, streams: bool
) -> None:
    """One provider call; a hundred terminals and rows, each under its own id."""
    travel = Travel(pipeline, first=ScriptedProvider(slowly))
    await travel.start()
    make = travel.streaming if streams else travel.request
    await travel.ask(*(make(number, fingerprint=SAME) for number in range(100)))
    assert len(travel.first.asked) == 1
    ends = travel.ends()
    assert Counter(it.outcome for it in ends) == {"completed": 100}
    assert len({it.request_id for it in ends}) == 100
    assert {message_of(it) for it in ends} == {"Deep."}
    for end in ends:
        assert json.loads(end.response)["id"] == f"chatcmpl-{end.request_id}"
    assert Counter(it.cache.outcome for it in ends) == {"miss": 1, "joined": 99}
    assert misses_of(pipeline) == [request_id(0)]
    rows = rows_of(pipeline)
    assert len({row.row_id for row in rows}) == len(rows) == 99
    leader = travel.end_of(request_id(0))
    for row in rows:
        assert (row.kind, row.source_request_id) == ("join", request_id(0))
        assert (row.cost_nanousd, row.saved_nanousd) == (0, leader.cost_nanousd)
        assert (row.usage, row.error_code) == (leader.usage, "")
    check_hops(travel.end_of(request_id(7)), ("gateway", "cache-lookup"))
    assert sum(it.cost_nanousd for it in ends) == leader.cost_nanousd > 0


async def test_a_streamed_joiner_is_told_at_once_whom_to_follow(pipeline: Pipeline) -> None:
    """The chunk comes long before the leader ends; there is no answer chunk of its own."""
    travel = Travel(pipeline, first=ScriptedProvider(slowly))
    await travel.start()
    publish(pipeline, travel.streaming(1, fingerprint=SAME))
    publish(pipeline, travel.streaming(2, fingerprint=SAME))
    await pipeline.advance(0.5)
    (chunk,) = travel.chunks_of(request_id(2))
    assert (chunk.kind, chunk.attempt, chunk.seq) == ("joined", 0, 0)
    assert chunk.payload == request_id(1).encode()
    assert chunk.headers["x-cache"] == "joined"
    assert kinds(travel.chunks_of(request_id(1))) == ["delta"]
    await pipeline.run_until_quiet()
    assert kinds(travel.chunks_of(request_id(2))) == ["joined", "joined"]
    assert travel.end_of(request_id(2)).stream


async def test_streamed_and_whole_ones_share_a_call(pipeline: Pipeline) -> None:
    """Who cannot follow the leader's tokens gets his answer as one chunk when it ends."""
    travel = Travel(pipeline, first=ScriptedProvider(slowly))
    await travel.start()
    await travel.ask(
        travel.streaming(1, fingerprint=SAME),
        travel.streaming(2, fingerprint=SAME),
        travel.streaming(3, fingerprint=SAME, include_usage=True),
        travel.request(4, fingerprint=SAME),
        travel.request(5, fingerprint=SAME, reply_partition=-1),
    )
    assert len(travel.first.asked) == 1
    assert kinds(travel.chunks_of(request_id(2))) == ["joined", "joined"]
    joined, replayed = travel.chunks_of(request_id(3))
    assert (joined.kind, joined.payload) == ("joined", b"")
    joined, answer = travel.chunks_of(request_id(4))
    assert (joined.kind, joined.payload) == ("joined", b"")
    assert (replayed.kind, answer.kind) == ("end", "end")
    assert text_of([replayed]) == "Deep."
    assert json.loads(replayed.payload.split(b"\n")[-1])["usage"]["total_tokens"] == 11
    assert answer.payload == travel.end_of(request_id(4)).response
    assert replayed.headers["x-cache"] == answer.headers["x-cache"] == "joined"
    assert travel.chunks_of(request_id(5)) == []
    assert message_of(travel.end_of(request_id(5))) == "Deep."


async def test_tenants_share_nothing(pipeline: Pipeline) -> None:
    """Not even when their fingerprints are the same by some mistake."""
    travel = Travel(pipeline, first=ScriptedProvider(slowly))
    await travel.start()
    await travel.ask(
        travel.request(1, fingerprint=SAME),
        travel.request(2, fingerprint=SAME, tenant="other", key_id=""),
    )
    assert [travel.end_of(request_id(number)).cache.outcome for number in (1, 2)] == [
        "miss",
        "miss",
    ]
    assert len(misses_of(pipeline)) == 2


async def test_what_bypasses_the_cache_is_asked_for_each_time(pipeline: Pipeline) -> None:
    """Two who want fresh answers get two; a repetition of one of them joins it."""
    travel = Travel(pipeline, first=ScriptedProvider(slowly))
    await travel.start()
    fresh: dict[str, Any] = {"fingerprint": SAME, "cache_policy": CachePolicy(no_cache=True)}
    publish(pipeline, travel.request(1, **fresh))
    publish(pipeline, travel.request(2, **fresh))
    publish(pipeline, travel.request(3, **fresh), retry=True)
    publish(pipeline, travel.request(4, **fresh), retry=True)
    publish(pipeline, travel.request(5, **fresh, key_id="key-2"), retry=True)
    await pipeline.run_until_quiet()
    assert [travel.end_of(request_id(n)).cache.source_request_id for n in (3, 4)] == [
        request_id(1),
        request_id(2),
    ]
    assert misses_of(pipeline) == [request_id(1), request_id(2), request_id(5)]


async def test_the_leader_s_refusal_is_everybody_s(pipeline: Pipeline) -> None:
    """What is wrong with one of them is wrong with all; no one is asked again."""
    no = ScriptedProvider([refused(400, code="context_length_exceeded")])
    travel = Travel(pipeline, first=no, second=no)
    await travel.start()
    await travel.ask(*(travel.request(number, fingerprint=SAME) for number in range(4)))
    ends = travel.ends()
    codes = {it.error.code for it in ends if it.error is not None}
    assert Counter(it.outcome for it in ends) == {"failed": 4}
    assert len(codes) == 1
    assert len(misses_of(pipeline)) == 1
    for number in range(1, 4):
        joined, chunk = travel.chunks_of(request_id(number))
        assert (joined.kind, joined.payload) == ("joined", b"")
        assert (chunk.kind, chunk.headers["x-cache"]) == ("error", "joined")
    rows = rows_of(pipeline)
    assert [(row.error_code, row.saved_nanousd) for row in rows] == [(codes.pop(), 0)] * 3


@pytest.mark.parametrize("field", ["service_tier", "prompt_cache_retention"])
async def test_a_refusal_of_what_the_leader_alone_asked_for_is_his(
    pipeline: Pipeline, field: str
) -> None:
    """Those who asked for the same inherit it; the others share one call of their own."""

    def picky(asked: Asked) -> Script:
        return refused(400, message="Not here.") if field in asked.body else whole(frames=[2.0])

    travel = Travel(pipeline, first=ScriptedProvider(picky))
    await travel.start()
    flex = msgspec.json.encode({**json.loads(BODY), field: "flex"})
    await travel.ask(
        travel.request(0, fingerprint=SAME, body=flex),
        travel.request(1, fingerprint=SAME, body=flex),
        *(travel.request(number, fingerprint=SAME) for number in range(2, 5)),
    )
    outcomes = [travel.end_of(request_id(number)).outcome for number in range(5)]
    assert outcomes == ["failed"] * 2 + ["completed"] * 3
    assert misses_of(pipeline) == [request_id(0), request_id(2)]
    assert len(travel.first.asked) == 2


async def test_a_refusal_of_a_stream_leaves_whole_answers_alone(pipeline: Pipeline) -> None:
    """Providers refuse streams of a model to some accounts."""

    def picky(asked: Asked) -> Script:
        return refused(400) if asked.body.get("stream") else whole(frames=[2.0])

    travel = Travel(pipeline, first=ScriptedProvider(picky))
    await travel.start()
    await travel.ask(travel.streaming(0, fingerprint=SAME), travel.request(1, fingerprint=SAME))
    outcomes = [travel.end_of(request_id(number)).outcome for number in range(2)]
    assert outcomes == ["failed", "completed"]


async def test_a_refusal_of_how_numbers_are_written_is_his(pipeline: Pipeline) -> None:
    """Tokens written as decimals are the same tokens to us, and none to some providers."""

    def picky(asked: Asked) -> Script:
        is_decimal = isinstance(asked.body["input"][0], float)
        answer = refused(400) if is_decimal else embedded(asked)
        return msgspec.structs.replace(answer, before=(2.0,))

    travel = Travel(pipeline, first=ScriptedProvider(picky))
    await travel.start()
    same: dict[str, Any] = {"operation": "embeddings", "model": "embed", "fingerprint": SAME}
    await travel.ask(
        travel.request(0, body=b'{"model":"embed","input":[1.0,2.0]}', **same),
        travel.request(1, body=b'{"model":"embed","input":[1,2]}', **same),
    )
    outcomes = [travel.end_of(request_id(number)).outcome for number in range(2)]
    assert outcomes == ["failed", "completed"]
    assert len(travel.first.asked) == 2


async def test_many_different_requests_that_are_all_refused_are_three_calls(
    pipeline: Pipeline,
) -> None:
    """Each names another user; what they share is at fault, and that is tried out twice only."""
    travel = Travel(pipeline, first=ScriptedProvider([refused(400)]))
    await travel.start()
    bodies = [msgspec.json.encode({**json.loads(BODY), "user": f"u{n}"}) for n in range(9)]
    await travel.ask(
        *(travel.request(n, fingerprint=SAME, body=body) for n, body in enumerate(bodies))
    )
    assert Counter(it.outcome for it in travel.ends()) == {"failed": 9}
    assert len(travel.first.asked) == 3


async def test_a_leader_that_runs_out_of_time_takes_nobody_with_it(pipeline: Pipeline) -> None:
    """Its joiners had longer: one of them leads, the others join it."""
    travel = Travel(pipeline, first=ScriptedProvider(slowly))
    await travel.start()
    soon = int(pipeline.clock.now_ms()) + 1000
    await travel.ask(
        travel.request(0, fingerprint=SAME, deadline_at=soon),
        *(travel.request(number, fingerprint=SAME) for number in range(1, 5)),
    )
    outcomes = [travel.end_of(request_id(number)).outcome for number in range(5)]
    assert outcomes == ["expired"] + ["completed"] * 4
    assert misses_of(pipeline) == [request_id(0), request_id(1)]
    assert [row.source_request_id for row in rows_of(pipeline)] == [request_id(1)] * 3


async def test_a_leader_whose_client_gives_up_takes_nobody_with_it(pipeline: Pipeline) -> None:
    """It is cancelled; the most urgent of its joiners leads, the others join him."""
    travel = Travel(pipeline)
    await travel.start(without="router")
    for number, priority in ((1, 0), (2, 2), (3, 0), (4, 0)):
        request = travel.streaming(number, fingerprint=SAME, priority=priority)
        publish(pipeline, request)
        await pipeline.advance(0.1)
    pipeline.pipe_input(
        Topic.INFERENCE_RESULTS,
        finished(1, outcome="cancelled", response=b"", fingerprint=SAME),
    )
    await pipeline.advance(1)
    assert misses_of(pipeline) == [request_id(1), request_id(3)]
    assert kinds(travel.chunks_of(request_id(3))) == ["joined"]
    leaders = [chunk.payload.decode() for chunk in travel.chunks_of(request_id(4))]
    assert leaders == [request_id(1), request_id(3)]


@pytest.mark.parametrize("streams", [True, False])
async def test_a_joiner_that_is_cancelled_leaves_the_others_alone(
    pipeline: Pipeline, *, streams: bool
) -> None:
    """It ends at once, for nothing; the leader and the other joiner have the answer."""
    travel = Travel(pipeline, first=ScriptedProvider(slowly))
    await travel.start()
    make = travel.streaming if streams else travel.request
    requests = [make(number, fingerprint=SAME) for number in range(3)]
    for request in requests:
        publish(pipeline, request)
    await pipeline.advance(0.5)
    cancel(pipeline, requests[1])
    await pipeline.advance(0.3)
    assert [it.request_id for it in travel.ends()] == [request_id(1)]
    *_, told = travel.chunks_of(request_id(1))
    assert (told.kind, told.status) == ("error", 499)
    assert travel.first.in_flight == 1
    await pipeline.run_until_quiet()
    outcomes = [travel.end_of(request_id(number)).outcome for number in range(3)]
    assert outcomes == ["completed", "cancelled", "completed"]
    assert len(travel.first.asked) == 1
    rows = {row.request_id: row for row in rows_of(pipeline)}
    assert (rows[request_id(1)].kind, rows[request_id(1)].error_code) == (
        "join",
        "request_cancelled",
    )
    assert rows[request_id(1)].cost_nanousd == rows[request_id(1)].saved_nanousd == 0
    assert rows[request_id(2)].saved_nanousd > 0


@pytest.mark.parametrize("streams", [True, False])
async def test_a_leader_that_is_cancelled_leaves_its_call_to_its_joiners(
    pipeline: Pipeline, *, streams: bool
) -> None:
    """It is told at once; the one call goes on, is its cost, and the answer of the others."""
    travel = Travel(pipeline, first=ScriptedProvider(slowly))
    await travel.start()
    make = travel.streaming if streams else travel.request
    requests = [make(number, fingerprint=SAME) for number in range(3)]
    for request in requests:
        publish(pipeline, request)
    await pipeline.advance(0.5)
    cancel(pipeline, requests[0])
    await pipeline.advance(0.3)
    assert travel.first.in_flight == 1
    *before, told = travel.chunks_of(request_id(0))
    assert kinds(before) == (["delta"] if streams else [])
    assert (told.kind, told.status, told.headers["x-millrace-call"]) == ("error", 499, "goes-on")
    await pipeline.run_until_quiet()
    ends = [travel.end_of(request_id(number)) for number in range(3)]
    assert [it.outcome for it in ends] == ["cancelled", "completed", "completed"]
    assert ends[0].error is not None
    assert ends[0].error.code == "request_cancelled"
    assert ends[0].cost_nanousd > 0
    assert [message_of(it) for it in ends[1:]] == ["Deep.", "Deep."]
    assert len(travel.first.asked) == 1
    assert misses_of(pipeline) == [request_id(0)]
    if streams:
        assert kinds(travel.chunks_of(request_id(0)))[-1] == "end"
    assert [(row.kind, row.saved_nanousd) for row in rows_of(pipeline)] == [
        ("join", ends[0].cost_nanousd)
    ] * 2


async def test_a_hit_says_what_the_answer_cost_when_it_came(pipeline: Pipeline) -> None:
    """So that what the cache saves is a sum over the ledger, for hits as for those that joined."""
    travel = Travel(pipeline, first=ScriptedProvider(slowly))
    await travel.start()
    await travel.ask(travel.request(0, fingerprint=SAME))
    await pipeline.run_until_quiet()
    await travel.ask(travel.request(1, fingerprint=SAME))
    leader, hit = travel.end_of(request_id(0)), travel.end_of(request_id(1))
    assert (hit.cache.outcome, hit.cost_nanousd) == ("exact_hit", 0)
    [row] = rows_of(pipeline)
    assert (row.kind, row.source_request_id) == ("hit", request_id(0))
    assert row.saved_nanousd == leader.cost_nanousd > 0
    assert leader.route is not None
    assert row.price_version == leader.route.targets[0].price.version != ""


async def test_a_call_that_nobody_needs_any_more_is_stopped(pipeline: Pipeline) -> None:
    """When the last joiner of a cancelled leader is cancelled too; whoever asks then leads."""
    travel = Travel(pipeline, first=ScriptedProvider(slowly))
    await travel.start()
    requests = [travel.streaming(number, fingerprint=SAME) for number in range(3)]
    for request in requests:
        publish(pipeline, request)
    await pipeline.advance(0.5)
    for request in requests[:2]:
        cancel(pipeline, request)
    await pipeline.advance(0.3)
    assert travel.first.in_flight == 1
    cancel(pipeline, requests[2])
    await pipeline.advance(0.3)
    assert travel.first.in_flight == 0
    await travel.ask(travel.streaming(3, fingerprint=SAME))
    outcomes = [travel.end_of(request_id(number)).outcome for number in range(4)]
    assert outcomes == ["cancelled"] * 3 + ["completed"]
    assert misses_of(pipeline) == [request_id(0), request_id(3)]


async def test_a_leader_cancelled_before_its_call_still_calls_for_its_joiners(
    pipeline: Pipeline,
) -> None:
    """It is served when it comes, and its joiners are not run again."""
    travel = Travel(pipeline, first=ScriptedProvider(slowly))
    await travel.start(without="router")
    requests = [travel.request(number, fingerprint=SAME) for number in range(2)]
    for request in requests:
        publish(pipeline, request)
    await pipeline.advance(0.5)
    cancel(pipeline, requests[0])
    await pipeline.advance(0.5)
    await pipeline.start(travel.stages.router)
    await pipeline.run_until_quiet()
    assert [travel.end_of(request_id(number)).outcome for number in range(2)] == [
        "cancelled",
        "completed",
    ]
    assert len(travel.first.asked) == 1
    assert misses_of(pipeline) == [request_id(0)]


def slow_embedding(asked: Asked) -> Script:
    """Two seconds for an embedding."""
    return msgspec.structs.replace(embedded(asked), before=(2.0,))


async def test_a_member_of_a_merged_call_is_left_to_its_joiners(pipeline: Pipeline) -> None:
    """It stays in the call, which is made for the others of its batch as well."""
    travel = Travel(pipeline, first=ScriptedProvider(slow_embedding))
    await travel.start()
    body = b'{"model":"embed","input":"%d"}'
    requests = [
        travel.request(
            number,
            operation="embeddings",
            model="embed",
            body=body % (number == 2),
            fingerprint=SAME if number < 2 else "6" * 64,
        )
        for number in range(3)
    ]
    for request in requests:
        publish(pipeline, request)
    await pipeline.advance(0.5)
    cancel(pipeline, requests[0])
    await pipeline.advance(0.3)
    assert kinds(travel.chunks_of(request_id(0))) == ["error"]
    await pipeline.run_until_quiet()
    ends = [travel.end_of(request_id(number)) for number in range(3)]
    assert [it.outcome for it in ends] == ["cancelled", "completed", "completed"]
    assert len(travel.first.asked) == 1
    assert ends[0].cost_nanousd > 0
    assert kinds(travel.chunks_of(request_id(0))) == ["error"]
    assert json.loads(ends[1].response)["data"] == json.loads(ends[0].response)["data"]


async def test_a_shared_call_that_fails_leaves_joiners_of_a_cancelled_leader_to_themselves(
    pipeline: Pipeline,
) -> None:
    """One of them leads then; the leader stays cancelled."""
    no = refused(400, code="context_length_exceeded")
    late_no = msgspec.structs.replace(no, before=(2.0,))
    travel = Travel(pipeline, first=ScriptedProvider([late_no, whole(frames=[0.5])]))
    await travel.start()
    requests = [travel.request(number, fingerprint=SAME, model="only") for number in range(3)]
    for request in requests:
        publish(pipeline, request)
    await pipeline.advance(0.5)
    cancel(pipeline, requests[0])
    await pipeline.run_until_quiet()
    outcomes = [travel.end_of(request_id(number)).outcome for number in range(3)]
    assert outcomes == ["cancelled", "completed", "completed"]


@pytest.mark.parametrize("streams", [True, False])
async def test_a_call_that_was_left_to_others_survives_its_process(
    pipeline: Pipeline, tmp_path: Path, *, streams: bool
) -> None:
    """It is made again for them; a stream that had begun is cut, and a joiner of it runs again."""
    travel = Travel(pipeline, first=ScriptedProvider(slowly))
    await travel.start(slots=tmp_path)
    make = travel.streaming if streams else travel.request
    requests = [make(number, fingerprint=SAME) for number in range(2)]
    for request in requests:
        publish(pipeline, request)
    await pipeline.advance(0.5)
    cancel(pipeline, requests[0])
    await pipeline.advance(0.3)
    await travel.kill_and_restart("model-caller", slots=tmp_path)
    await pipeline.run_until_quiet()
    ends = [travel.end_of(request_id(number)) for number in range(2)]
    assert [it.outcome for it in ends] == ["cancelled", "completed"]
    assert message_of(ends[1]) == "Deep."
    assert len(travel.first.asked) == 2
    assert misses_of(pipeline) == [request_id(0), *([request_id(1)] if streams else [])]


async def test_a_joiner_s_own_deadline_is_kept(pipeline: Pipeline) -> None:
    """It expires while its leader is still on its way."""
    travel = Travel(pipeline, first=ScriptedProvider(slowly))
    await travel.start()
    soon = int(pipeline.clock.now_ms()) + 1000
    publish(pipeline, travel.request(1, fingerprint=SAME))
    publish(pipeline, travel.request(2, fingerprint=SAME, deadline_at=soon))
    await pipeline.advance(1.4)
    end = travel.end_of(request_id(2))
    assert (end.outcome, end.cache.outcome) == ("expired", "joined")
    _, chunk = travel.chunks_of(request_id(2))
    assert (chunk.kind, chunk.status) == ("error", 504)
    assert [it.request_id for it in travel.ends()] == [request_id(2)]
    (row,) = rows_of(pipeline)
    assert (row.error_code, row.saved_nanousd) == ("deadline_exceeded", 0)
    await pipeline.run_until_quiet()
    assert len(travel.ends()) == 2


async def test_the_urgent_do_not_wait_for_the_slow_lane(pipeline: Pipeline) -> None:
    """Somebody who waits leads himself; whoever has time joins him or a background request."""
    travel = Travel(pipeline, first=ScriptedProvider(slowly))
    await travel.start()
    publish(pipeline, travel.request(1, fingerprint=SAME, priority=2))
    await pipeline.advance(0.1)
    publish(pipeline, travel.request(2, fingerprint=SAME, priority=0))
    await pipeline.advance(0.1)
    publish(pipeline, travel.request(3, fingerprint=SAME, priority=1))
    await pipeline.run_until_quiet()
    assert misses_of(pipeline) == [request_id(1), request_id(2)]
    assert travel.end_of(request_id(3)).cache.source_request_id == request_id(2)


async def test_who_comes_just_after_the_answer_gets_it(pipeline: Pipeline) -> None:
    """Before the cache has it: without a cache at all, nobody asks twice in the same moment."""
    travel = Travel(pipeline, first=ScriptedProvider(slowly))
    await travel.start(without="cache-writer")
    publish(pipeline, travel.request(1, fingerprint=SAME))
    publish(pipeline, travel.request(2, fingerprint=SAME))
    await pipeline.advance(2.2)
    assert len(travel.ends()) == 2
    await travel.ask(travel.request(3, fingerprint=SAME))
    assert travel.end_of(request_id(3)).cache.source_request_id == request_id(1)
    await pipeline.advance(5)
    await travel.ask(travel.request(4, fingerprint=SAME))
    assert travel.end_of(request_id(4)).cache.outcome == "miss"


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("at_s", [0.001, 0.5, 2.001])
async def test_the_look_up_dies_with_joiners_waiting(
    tmp_path: Path, *, at_s: float, streams: bool
) -> None:
    """Delivered again, they meet their leader or the cache: all end, and nobody else leads."""
    async with running_pipeline() as pipeline:
        travel = Travel(pipeline, first=ScriptedProvider(slowly))
        await travel.start(slots=tmp_path)
        make = travel.streaming if streams else travel.request
        requests = [make(number, fingerprint=SAME) for number in range(20)]
        asking = asyncio.ensure_future(travel.ask(*requests))
        await asyncio.sleep(at_s)
        await travel.kill_and_restart("cache-lookup", slots=tmp_path)
        await asking
        await pipeline.run_until_quiet()
        truth = {it.request_id: it for it in reversed(travel.ends())}
        assert {it.outcome for it in truth.values()} == {"completed"}
        assert len(truth) == 20
        assert {message_of(it) for it in truth.values()} == {"Deep."}
        assert set(misses_of(pipeline)) == {request_id(0)}  # a leader that comes again passes on


async def test_a_leader_that_never_ends_is_given_up(pipeline: Pipeline) -> None:
    """A stage that is gone writes no end: after the leader's deadline the joiners go on."""
    travel = Travel(pipeline, first=ScriptedProvider([whole(frames=[FOREVER]), whole()]))
    await travel.start(without="router")
    now_ms = int(pipeline.clock.now_ms())
    publish(pipeline, travel.request(1, fingerprint=SAME, deadline_at=now_ms + 5_000))
    await pipeline.advance(0.1)
    publish(pipeline, travel.request(2, fingerprint=SAME))
    await pipeline.advance(14)
    assert misses_of(pipeline) == [request_id(1)]
    await pipeline.advance(2)
    assert misses_of(pipeline) == [request_id(2)]


async def test_an_answer_cut_off_for_a_feature_is_not_handed_to_others(pipeline: Pipeline) -> None:
    """Who asks the same without the feature's cap has a call of his own; the others share one."""
    features = {"terse": FeatureOutput(default_max_tokens=50)}
    travel = Travel(
        pipeline, first=ScriptedProvider(slowly), settings=configuration(features=features)
    )
    await travel.start()
    asking = [
        travel.request(number, fingerprint=SAME, feature=feature, max_output_tokens=0)
        for number, feature in enumerate(("terse", "", "terse", "other"))
    ]
    await travel.ask(*asking)
    assert misses_of(pipeline) == [request_id(0), request_id(1)]
    assert [asked.body.get("max_completion_tokens") for asked in travel.first.asked] == [50, None]
    joined = {row.request_id: row.source_request_id for row in rows_of(pipeline)}
    assert joined == {request_id(2): request_id(0), request_id(3): request_id(1)}
