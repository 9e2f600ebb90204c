"""A request from the front door to its end, through every stage."""

import json
from typing import Any

import msgspec
import pytest

from services.shared.codec.headers import DEADLINE, TRACEPARENT, TRACESTATE
from services.shared.codec.records import encode_record
from services.shared.domain.configuration import KafkaProducers
from services.shared.domain.dead_letters import EXCEPTION
from services.shared.domain.events import CachePolicy, InferenceRequested
from services.shared.domain.topics import Topic
from services.shared.domain.tracing import span_id_for
from tests.pipeline.journeys.travel import (
    Travel,
    check_hops,
    headers_are,
    message_of,
    text_of,
)
from tests.support.example_events import BODY, request_id
from tests.support.example_events import TRACEPARENT as TRACE
from tests.support.fake_clock import START_MS
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
from tests.support.stages import configuration

ALL_STAGES = ("gateway", "cache-lookup", "router", "batcher", "model-caller")
INTERNAL = (Topic.CACHE_MISSES, Topic.ROUTED_REQUESTS, Topic.REQUEST_BATCHES_P0)


async def test_an_answer_travels_back_to_its_client(pipeline: Pipeline) -> None:
    """One chunk on the client's partition, one terminal record with the whole journey."""
    travel = Travel(pipeline)
    await travel.start()
    await travel.ask(travel.request())
    finished = travel.end_of(request_id())
    (chunk,) = travel.chunks_of(request_id())
    assert (finished.outcome, message_of(finished)) == ("completed", "Deep.")
    assert (chunk.kind, chunk.payload) == ("end", finished.response)
    check_hops(finished, ALL_STAGES)
    assert len(travel.ends()) == 1
    assert finished.cost_nanousd == finished.calls[0].cost_nanousd == 9 * 1_000 + 2 * 2_000
    assert finished.route is not None
    assert [target.provider for target in finished.route.targets] == ["first", "second"]


async def test_a_stream_travels_back_word_by_word(pipeline: Pipeline) -> None:
    """The first word before the second is said; the record has the whole."""
    first = ScriptedProvider([streamed(piece("De"), 2.0, piece("ep."), *ENDING)])
    travel = Travel(pipeline, first=first)
    await travel.start()
    await travel.ask(travel.streaming())
    chunks = travel.chunks_of(request_id())
    assert [chunk.kind for chunk in chunks] == ["delta", "end"]
    assert [chunk.seq for chunk in chunks] == [0, 1]
    assert text_of(chunks) == "Deep."
    records = pipeline.cluster.records(Topic.RESULT_CHUNKS)
    assert [record.partition for record in records] == [3, 3]
    assert records[1].timestamp - records[0].timestamp >= 2000
    finished = travel.end_of(request_id())
    assert message_of(finished) == "Deep."
    check_hops(finished, ALL_STAGES)


@pytest.mark.parametrize("streams_first", [True, False])
async def test_a_hit_follows_a_miss_streamed_or_not(
    *, pipeline: Pipeline, streams_first: bool
) -> None:
    """An answer that was streamed is served whole and the other way round, at no cost."""
    travel = Travel(pipeline)
    await travel.start()
    same = travel.request().fingerprint
    missing, hitting = travel.streaming(1), travel.request(2, fingerprint=same)
    if not streams_first:
        missing, hitting = travel.request(1), travel.streaming(2, fingerprint=same)
    await travel.ask(missing)
    await pipeline.advance(3)
    await travel.ask(hitting)
    finished = travel.end_of(request_id(2))
    assert finished.cache.outcome == "exact_hit"
    assert finished.cache.age_s >= 3
    assert finished.cache.source_request_id == request_id(1)
    assert (message_of(finished), finished.cost_nanousd, finished.calls) == ("Deep.", 0, ())
    assert finished.usage == travel.end_of(request_id(1)).usage
    check_hops(finished, ("gateway", "cache-lookup"))
    (chunk,) = travel.chunks_of(request_id(2))
    assert chunk.headers["x-cache"] == "exact_hit"
    if streams_first:
        assert chunk.payload == finished.response
    else:
        assert text_of([chunk]) == "Deep."
    assert len(travel.first.asked) == 1


async def test_callers_control_the_cache(pipeline: Pipeline) -> None:
    """no-store is not kept, no-cache is not looked up but kept, max-age bounds the age."""
    travel = Travel(pipeline)
    await travel.start()
    policies = [
        (CachePolicy(no_store=True), "miss"),
        (CachePolicy(), "miss"),
        (CachePolicy(no_cache=True), "bypass"),
        (CachePolicy(), "exact_hit"),
        (CachePolicy(max_age_s=600), "exact_hit"),
        (CachePolicy(max_age_s=1), "miss"),
        (CachePolicy(max_age_s=1), "exact_hit"),
    ]
    same = travel.request().fingerprint
    for number, (policy, outcome) in enumerate(policies):
        if policy.max_age_s == 1 and outcome == "miss":
            await pipeline.advance(5)
        await travel.ask(travel.request(number, fingerprint=same, cache_policy=policy))
        assert travel.end_of(request_id(number)).cache.outcome == outcome, number
    assert len(travel.first.asked) == 4


@pytest.mark.parametrize(
    ("changes", "code", "status"),
    [
        pytest.param({"model": "nobody"}, "model_not_found", 404, id="no_such_model"),
        pytest.param({"key_id": "stolen"}, "invalid_api_key", 401, id="no_such_key"),
    ],
)
async def test_the_router_refuses(
    pipeline: Pipeline, changes: dict[str, Any], code: str, status: int
) -> None:
    """The client hears why; no model is called."""
    travel = Travel(pipeline)
    await travel.start()
    await travel.ask(travel.request(**changes))
    (chunk,) = travel.chunks_of(request_id())
    finished = travel.end_of(request_id())
    assert (chunk.kind, chunk.status) == ("error", status)
    assert json.loads(chunk.payload)["error"]["code"] == code
    assert finished.error is not None
    assert finished.error.code == code
    check_hops(finished, ("gateway", "cache-lookup", "router"))
    assert travel.first.asked == []


async def test_the_next_target_answers_where_the_first_cannot(pipeline: Pipeline) -> None:
    """Both calls stand in the record; the client sees who answered."""
    travel = Travel(pipeline, first=ScriptedProvider([refused(401)]))
    await travel.start()
    await travel.ask(travel.request(), travel.streaming(2))
    for number in (1, 2):
        finished = travel.end_of(request_id(number))
        assert [call.provider for call in finished.calls] == ["first", "second"]
        headers = travel.chunks_of(request_id(number))[0].headers
        assert headers["x-millrace-route-target"] == "second/second-model"
        assert headers["x-millrace-attempts"] == "2"


async def test_a_provider_that_is_down_ends_in_its_error(pipeline: Pipeline) -> None:
    """No other target, so the client hears what happened."""
    travel = Travel(pipeline, first=ScriptedProvider([refused(503)]))
    await travel.start()
    await travel.ask(travel.request(model="only"))
    finished = travel.end_of(request_id())
    assert finished.error is not None
    assert (finished.error.code, finished.error.fault) == ("provider_overloaded", "provider")
    assert len(finished.calls) == 3
    (chunk,) = travel.chunks_of(request_id())
    assert (chunk.kind, chunk.status) == ("error", 503)


async def test_embeddings_of_a_window_share_a_call_and_one_bad_one_fails_alone(
    pipeline: Pipeline,
) -> None:
    """Also across tenants, where the provider keeps inputs apart."""

    def play(asked: Asked) -> Script:
        return refused(400, message="Bad.") if "bad" in asked.body["input"] else embedded(asked)

    travel = Travel(pipeline, first=ScriptedProvider(play))
    await travel.start()
    requests = [
        travel.request(
            number,
            operation="embeddings",
            model="embed",
            tenant=f"tenant-{number % 3}",
            body=msgspec.json.encode(
                {"model": "embed", "input": "bad" if number == 5 else f"text {number}"}
            ),
        )
        for number in range(16)
    ]
    await travel.ask(*requests)
    ends = {it.request_id: it for it in travel.ends()}
    assert len(ends) == len(travel.ends()) == 16
    assert ends.pop(request_id(5)).outcome == "failed"
    assert {it.outcome for it in ends.values()} == {"completed"}
    assert {it.batch_size for it in ends.values()} == {16}
    assert len(travel.first.asked) == 1 + 2 * 4


@pytest.mark.parametrize("service", ["cache-lookup", "router", "batcher", "model-caller"])
async def test_a_request_that_waited_too_long_expires_where_it_is_met(
    pipeline: Pipeline, service: str
) -> None:
    """A stage that was away ends it; the client hears of it; nobody is asked or paid."""
    travel = Travel(pipeline)
    await travel.start(without=service)
    await travel.ask(travel.request())
    assert travel.ends() == []
    await pipeline.advance(61)
    (stage,) = [it for it in travel.stages.all() if it.service == service]
    await pipeline.start(stage)
    await pipeline.run_until_quiet()
    finished = travel.end_of(request_id())
    assert (finished.outcome, finished.error and finished.error.code) == (
        "expired",
        "deadline_exceeded",
    )
    check_hops(finished, ALL_STAGES[: ALL_STAGES.index(service) + 1])
    (chunk,) = travel.chunks_of(request_id())
    assert (chunk.kind, chunk.status) == ("error", 504)
    assert travel.first.asked == []


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(Script(before=[FOREVER]), id="silent"),
        pytest.param(streamed(piece("De"), FOREVER), id="fallen_silent"),
    ],
)
async def test_the_deadline_ends_a_call(pipeline: Pipeline, script: Script) -> None:
    """On time, also in the middle of a stream."""
    travel = Travel(pipeline, first=ScriptedProvider([script]))
    await travel.start()
    request = travel.streaming()
    request = msgspec.structs.replace(request, deadline_at=request.accepted_at + 900)
    await travel.ask(request)
    finished = travel.end_of(request_id())
    assert finished.outcome == "expired"
    assert abs(finished.finished_at - request.deadline_at) <= 2
    assert travel.chunks_of(request_id())[-1].kind == "error"


# -- one partition, headers, traces ----------------------------------------------------------------


async def test_a_request_keeps_one_partition_and_its_headers() -> None:
    """With four partitions each request stays on the one of its id, whatever window it shared."""
    async with running_pipeline(partitions=4) as pipeline:
        travel = Travel(pipeline)
        await travel.start()
        requests = [travel.request(number) for number in range(40)]
        await travel.ask(*requests)
        assert len({it.request_id for it in travel.ends()}) == len(travel.ends()) == 40
        used = set()
        for finished in travel.ends():
            hops = [hop for hop in finished.hops if hop.topic in INTERNAL]
            assert len(hops) == 3
            assert len({hop.partition for hop in hops}) == 1
            used.add(hops[0].partition)
        assert used == {0, 1, 2, 3}


async def test_the_trace_goes_all_the_way(pipeline: Pipeline) -> None:
    """Every record of one request carries its context; the provider gets the call's span."""
    travel = Travel(pipeline)
    await travel.start()
    request = travel.request(tracestate="vendor=1")
    await travel.ask(request)
    topics = (
        Topic.CACHE_MISSES,
        Topic.ROUTED_REQUESTS,
        Topic.RESULT_CHUNKS,
        Topic.INFERENCE_RESULTS,
    )
    for topic in topics:
        (record,) = pipeline.cluster.records(topic)
        headers = dict(record.headers)
        assert headers[TRACEPARENT] == TRACE.encode()
        assert headers[TRACESTATE] == b"vendor=1"
        assert headers_are(request, headers)
    (asked,) = travel.first.asked
    span_id = span_id_for(request_id(), "model-caller", 1)
    assert asked.headers["traceparent"] == f"00-{TRACE.split('-')[1]}-{span_id}-01"
    spans = {span.span_id: span for span in travel.stages.sink.spans}
    assert spans[span_id].service == "model-caller"
    own = [span for span in spans.values() if span.trace_id == TRACE.split("-")[1]]
    assert {span.parent_id for span in own} - {span.span_id for span in own} == {
        TRACE.split("-")[2]
    }


# -- Kafka producers -------------------------------------------------------------------------------


def record(**changes: Any) -> InferenceRequested:
    """What a producer has to write."""
    fields: dict[str, Any] = {"request_id": "my-request-1", "operation": "chat", "body": BODY}
    return InferenceRequested(**{**fields, **changes})


async def test_a_producer_s_request_is_answered_on_the_results_topic(pipeline: Pipeline) -> None:
    """On the producers' account, in the topic's priority, with no chunk; the trace goes on."""
    travel = Travel(pipeline)
    await travel.start()
    finished = await travel.produce(record(), **{TRACEPARENT: TRACE})
    assert (finished.outcome, message_of(finished)) == ("completed", "Deep.")
    assert (finished.tenant, finished.key_id, finished.priority) == ("kafka", "", 2)
    check_hops(finished, ("producer", *ALL_STAGES[1:]))
    assert finished.hops[4].topic == "request-batches-p2"
    assert travel.chunks_of("my-request-1") == []
    assert travel.first.asked[0].headers["traceparent"].split("-")[1] == TRACE.split("-")[1]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"tenant": "acme"}, "contradictory_record", id="another_tenant"),
        pytest.param({"model": "only"}, "contradictory_record", id="another_model"),
        pytest.param({"body": b"not json"}, "json_invalid", id="no_json"),
        pytest.param(
            {"body": b'{"model":"small"}'}, "missing_required_parameter", id="no_messages"
        ),
        pytest.param({"operation": "shopping"}, "invalid_value", id="no_operation"),
        pytest.param({"deadline_at": 1}, "", id="past_deadline"),
    ],
)
async def test_a_producer_s_bad_request_is_refused(
    pipeline: Pipeline, changes: dict[str, object], code: str
) -> None:
    """It ends in a terminal record; the partition goes on."""
    travel = Travel(pipeline)
    await travel.start()
    finished = await travel.produce(record(**changes))
    assert finished.error is not None
    if code:
        assert (finished.error.code, finished.error.status) == (code, 400)
    else:
        assert finished.outcome == "expired"
    assert finished.tenant == "kafka"
    check_hops(finished, ("producer", "cache-lookup"))
    good = await travel.produce(record(request_id="my-request-2"))
    assert good.outcome == "completed"
    assert pipeline.cluster.records("inference-requests-p2-dlq") == []


@pytest.mark.parametrize(
    ("header", "outcome", "paid"),
    [
        pytest.param("1", "expired", 0, id="expired"),
        pytest.param(str(int(START_MS) + 500), "expired", 1, id="soon"),
        pytest.param("999999999999999", "completed", 1, id="in_31_centuries"),
        pytest.param("0", "completed", 1, id="none"),
        pytest.param("-5", "completed", 1, id="no_time"),
        pytest.param("tomorrow", "completed", 1, id="no_number"),
    ],
)
async def test_a_header_may_only_shorten_a_deadline(
    pipeline: Pipeline, header: str, outcome: str, paid: int
) -> None:
    """A record that has none itself has the default one, or an earlier one by its header."""
    travel = Travel(pipeline, first=ScriptedProvider([whole(frames=[2.0])]))
    await travel.start()
    finished = await travel.produce(record(), **{DEADLINE: header})
    assert (finished.outcome, len(travel.first.asked)) == (outcome, paid)


OTHER_BODY = BODY.replace(b"sea", b"lake")


@pytest.mark.parametrize(
    "second", [record(body=OTHER_BODY), record(body=b"not json"), record(operation="embeddings")]
)
async def test_an_id_is_one_request(pipeline: Pipeline, second: InferenceRequested) -> None:
    """Another one under it is a dead letter while the first runs and later, and has no end."""
    travel = Travel(pipeline, first=ScriptedProvider([whole(frames=[2.0])]))
    await travel.start()
    pipeline.pipe_raw(Topic.INFERENCE_REQUESTS_P2, encode_record(record()))
    await pipeline.advance(0.5)
    finished = await travel.produce(second)
    await travel.produce(second)
    assert (finished.outcome, message_of(finished)) == ("completed", "Deep.")
    assert len(travel.ends()) == len(travel.first.asked) == 1
    letters = pipeline.cluster.records("inference-requests-p2-dlq")
    assert [dict(it.headers)[EXCEPTION] for it in letters] == [b"millrace.id_conflict"] * 2
    assert [it.value for it in letters] == [encode_record(second)] * 2


async def test_a_record_that_comes_again_is_one_call(pipeline: Pipeline) -> None:
    """Ten times the same, in one poll and later: every end says the same."""
    travel = Travel(pipeline, first=ScriptedProvider([whole(frames=[2.0])]))
    await travel.start()
    for _ in range(9):
        pipeline.pipe_raw(Topic.INFERENCE_REQUESTS_P2, encode_record(record()))
    await pipeline.run_until_quiet()
    await travel.produce(record(deadline_at=int(pipeline.clock.now_ms()) + 5_000))
    assert {(it.outcome, message_of(it)) for it in travel.ends()} == {("completed", "Deep.")}
    assert len(travel.first.asked) == 1
    assert pipeline.cluster.records("inference-requests-p2-dlq") == []


@pytest.mark.parametrize("deadline_at", [0, 1])
async def test_a_forged_reply_partition_reaches_no_client(
    pipeline: Pipeline, deadline_at: int
) -> None:
    """Nobody but a gateway speaks to a gateway's clients, not even by way of an error."""
    travel = Travel(pipeline)
    await travel.start()
    await travel.produce(record(reply_partition=3, deadline_at=deadline_at))
    assert travel.chunks_of("my-request-1") == []


async def test_namespaces_keep_answers_apart(pipeline: Pipeline) -> None:
    """An answer kept in one is a miss in another, and a hit in its own."""
    travel = Travel(pipeline)
    await travel.start()
    outcomes = []
    for number, namespace in enumerate(("a", "b", "a")):
        finished = await travel.produce(
            record(request_id=f"my-request-{number}", cache_policy=CachePolicy(namespace=namespace))
        )
        outcomes.append(finished.cache.outcome)
    assert outcomes == ["miss", "miss", "exact_hit"]


async def test_producers_are_refused_where_they_are_not_served(pipeline: Pipeline) -> None:
    """A gateway's requests are still answered."""
    closed = configuration(kafka_producers=KafkaProducers(enabled=False))
    travel = Travel(pipeline, settings=closed)
    await travel.start()
    finished = await travel.produce(record())
    assert finished.error is not None
    assert finished.error.code == "invalid_api_key"
    await travel.ask(travel.request())
    assert travel.end_of(request_id()).outcome == "completed"
