"""Records that come again, processes that die: every request ends, and its first end stands."""

import asyncio
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from services.shared.domain.events import InferenceFinished
from services.shared.domain.topics import Topic
from tests.pipeline.journeys.travel import Travel
from tests.support.example_events import request_id
from tests.support.pipeline import Pipeline, running_pipeline
from tests.support.scripted_provider import (
    ENDING,
    Asked,
    Script,
    ScriptedProvider,
    embedded,
    piece,
    streamed,
    whole,
)

TOPICS = (
    Topic.INFERENCE_REQUESTS_P0,
    Topic.CACHE_MISSES,
    Topic.ROUTED_REQUESTS,
    Topic.REQUEST_BATCHES_P0,
    Topic.INFERENCE_RESULTS,
)


def first_ends(travel: Travel) -> dict[str, InferenceFinished]:
    """The first terminal record of each request: the truth."""
    truth: dict[str, InferenceFinished] = {}
    for finished in travel.ends():
        truth.setdefault(finished.request_id, finished)
    return truth


def deliver_again(pipeline: Pipeline, topic: str) -> int:
    """Write every record of a topic once more, as a stage does that died before its commit."""
    records = pipeline.cluster.records(topic)
    for raw in records:
        pipeline.pipe_raw(
            topic,
            raw.value,
            key=raw.key,
            headers=[(name, value or b"") for name, value in raw.headers],
            partition=raw.partition,
        )
    return len(records)


@pytest.mark.parametrize("topic", TOPICS)
async def test_what_comes_again_changes_no_end(pipeline: Pipeline, topic: str) -> None:
    """Whatever a second delivery leads to, the first terminal record of each request stands."""
    travel = Travel(pipeline)
    await travel.start()
    await travel.ask(
        travel.request(1),
        travel.streaming(2),
        travel.request(3, model="nobody"),
        travel.request(4, deadline_at=int(pipeline.clock.now_ms())),
    )
    truth = first_ends(travel)
    assert Counter(it.outcome for it in truth.values()) == {
        "completed": 2,
        "failed": 1,
        "expired": 1,
    }
    assert deliver_again(pipeline, topic)
    await pipeline.run_until_quiet()
    assert first_ends(travel) == truth
    spans = [span.span_id for span in travel.stages.sink.spans]
    assert len(set(spans)) == len(spans), "an end that came again made its spans again"
    assert pipeline.cluster.records(f"{topic}-dlq") == []


@pytest.mark.parametrize("service", ["cache-lookup", "router", "batcher", "model-caller"])
@pytest.mark.parametrize("at_s", [0.001, 0.011, 0.3])
async def test_a_stage_that_dies_loses_no_request(
    tmp_path: Path, service: str, at_s: float
) -> None:
    """Killed in the middle and started again: every request ends, on one partition.

    A stream that had begun at a model caller that died cannot go on: it alone ends in an error.
    """

    def play(asked: Asked) -> Script:
        if asked.path == "/embeddings":
            return embedded(asked)
        if asked.body.get("stream"):
            return streamed(piece("De"), 0.5, piece("ep."), *ENDING)
        return whole(frames=[0.5])

    async with running_pipeline(partitions=2) as pipeline:
        travel = Travel(pipeline, first=ScriptedProvider(play))
        await travel.start(slots=tmp_path)
        bodies = [travel.request, travel.streaming]
        requests = [bodies[number % 2](number) for number in range(12)]
        asking = asyncio.ensure_future(travel.ask(*requests))
        await asyncio.sleep(at_s)
        await travel.kill_and_restart(service, slots=tmp_path)
        await asking
        await pipeline.run_until_quiet()
        truth = first_ends(travel)
        failed = [it for it in truth.values() if it.outcome != "completed"]
        assert {it.error.code for it in failed if it.error} <= {"stream_interrupted"}
        assert not failed or service == "model-caller"
        assert all(it.stream for it in failed)
        assert sorted(truth) == [request_id(number) for number in range(12)]
        for finished in travel.ends():
            partitions = {
                hop.partition
                for hop in finished.hops
                if hop.service in {"router", "batcher", "model-caller"}
            }
            assert len(partitions) == 1
        answered = [it for it in truth.values() if it.outcome == "completed"]
        assert {it.finish_reason for it in answered} == {"stop"}


async def test_a_second_end_is_not_what_the_cache_serves_wrongly(pipeline: Pipeline) -> None:
    """Whichever end of a redelivered request is kept, it is an answer to the request."""
    travel = Travel(pipeline)
    await travel.start()
    await travel.ask(travel.request(1))
    deliver_again(pipeline, Topic.INFERENCE_RESULTS)
    await pipeline.run_until_quiet()
    assert len(travel.stages.cache.entries) == 1
    await travel.ask(travel.request(2, fingerprint=travel.request(1).fingerprint))
    hit = travel.end_of(request_id(2))
    first = travel.end_of(request_id(1))
    assert hit.cache.source_request_id == request_id(1)
    answers = [msgspec.json.decode(it.response)["choices"] for it in (hit, first)]
    assert answers[0] == answers[1]
