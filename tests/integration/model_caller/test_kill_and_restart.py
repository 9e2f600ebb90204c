"""A model caller on a real broker that is killed in the middle of its calls."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.model_caller.redelivery import stream_of
from services.shared.codec.records import RECORDS, decode_record, encode_record
from services.shared.codec.topics import packaged_topics
from services.shared.domain.events import RequestRouted
from services.shared.domain.ledger import fold
from services.shared.domain.topics import BATCH_TOPICS, RETRY_TOPICS, Topic
from services.shared.stream.slots import Slot
from tests.support.example_events import batch, request_id
from tests.support.kafka_log_backend import KafkaBackend, kafka_backend
from tests.support.pipeline import StageProcess
from tests.support.scripted_provider import (
    ENDING,
    Asked,
    Script,
    ScriptedProvider,
    piece,
    refused,
    streamed,
    whole,
)
from tests.support.stages import Stages
from tests.unit.model_caller.callers import member, streaming

ATTEMPT_ID = "x-millrace-attempt-id"
pytestmark = pytest.mark.kafka
_BATCHES = Topic.REQUEST_BATCHES_P0
_TOPICS = (
    *BATCH_TOPICS,
    *RETRY_TOPICS,
    *(packaged_topics()[topic].dlq for topic in (*BATCH_TOPICS, *RETRY_TOPICS)),
    Topic.MODEL_CALL_ATTEMPTS,
    Topic.PROVIDER_HEALTH,
    Topic.INFERENCE_RESULTS,
    Topic.USAGE_LEDGER,
    Topic.CONTROL,
    Topic.CRASH_SUSPECTS,
)


@pytest.fixture
async def cluster(kafka_bootstrap: str) -> AsyncIterator[KafkaBackend]:
    """The topics of a model caller."""
    async with kafka_backend(kafka_bootstrap) as backend:
        await backend.make_topics({**dict.fromkeys(_TOPICS, 1), Topic.RESULT_CHUNKS: 4})
        yield backend


def slow_at_first(asked: Asked) -> Script:
    """A word at once and the rest not before long; or, asked again, the whole answer."""
    if asked.body.get("stream"):
        return streamed(piece("De"), *(4.0, piece("")) * 4, piece("ep."), *ENDING)
    return whole(frames=[15.0 if asked.headers[ATTEMPT_ID].endswith("-1") else 0.0])


async def events(cluster: KafkaBackend, topic: Topic) -> list[Any]:
    """All records of a topic."""
    event_type = RECORDS[packaged_topics()[topic].record]
    return [decode_record(raw.value or b"", event_type) for raw in await cluster.records(topic)]


def start(cluster: KafkaBackend, stages: Stages, slots: Path) -> StageProcess:
    """Start a model caller in its slot."""
    now_ms = cluster.clock.now_ms()
    slot = Slot.hold(data=slots, service="model-caller", ordinal=0, now_ms=now_ms)
    return StageProcess(
        stages.model_caller,
        cluster.connect(),
        clock=cluster.clock,
        slot=slot,
        session_timeout_s=cluster.session_timeout_s,
    )


async def test_killed_in_its_calls_and_started_again(cluster: KafkaBackend, tmp_path: Path) -> None:
    """A whole answer is asked for again and recorded; a stream that began ends in an error."""
    provider = ScriptedProvider(slow_at_first)
    stages = Stages({"first": provider})
    first = start(cluster, stages, tmp_path)
    await first.until_running()
    now_ms = int(cluster.clock.now_ms())
    times: dict[str, Any] = {"accepted_at": now_ms, "deadline_at": now_ms + 60_000}
    members: list[RequestRouted] = [member(1, **times), streaming(2, **times)]
    for number, one in enumerate(members):
        event = batch(one, batch_id=f"batch-{number}")
        await cluster.append(_BATCHES, encode_record(event), key=event.batch_id.encode())

    async def has_begun() -> bool:
        first.check()
        return bool(await cluster.records(Topic.RESULT_CHUNKS)) and len(provider.asked) == 2

    await cluster.until(has_begun)
    await first.kill()
    second = start(cluster, stages, tmp_path)
    await second.until_running()

    async def is_committed() -> bool:
        second.check()
        return await cluster.committed("model-caller-p0", _BATCHES) == len(members)

    await cluster.until(is_committed)
    ends = {it.request_id: it for it in await events(cluster, Topic.INFERENCE_RESULTS)}
    assert ends[request_id(1)].outcome == "completed"
    assert ends[request_id(2)].error.code == "stream_interrupted"
    chunks = await events(cluster, Topic.RESULT_CHUNKS)
    own = stream_of([it for it in chunks if it.request_id == request_id(2)])
    assert {it.kind for it in own[:-1]} == {"delta"}
    assert own[-1].kind == "error"
    ledger = fold(await events(cluster, Topic.USAGE_LEDGER))
    assert {row_id: row.kind for row_id, row in ledger.items()} == {
        f"{request_id(1)}-1": "unknown",
        f"{request_id(1)}-2": "attempt",
        f"{request_id(2)}-1": "unknown",
    }
    assert len(provider.asked) == 3
    await second.stop()  # gives the slot back, too


async def test_killed_while_a_request_waits_after_its_call(
    cluster: KafkaBackend, tmp_path: Path
) -> None:
    """Whoever comes next calls once more, however often it meets it; each call is a row."""
    provider = ScriptedProvider([refused(429, retry_after="4"), whole()])
    stages = Stages({"first": provider})
    first = start(cluster, stages, tmp_path)
    await first.until_running()
    now_ms = int(cluster.clock.now_ms())
    waiting = member(1, priority=2, accepted_at=now_ms, deadline_at=now_ms + 60_000)
    event = batch(waiting, batch_id="batch-0")
    await cluster.append(
        Topic.REQUEST_BATCHES_P2, encode_record(event), key=event.batch_id.encode()
    )

    async def waits() -> bool:
        first.check()
        return bool(await cluster.records(Topic.MODEL_CALLER_RETRY_5S))

    await cluster.until(waits)
    await first.kill()
    second = start(cluster, stages, tmp_path)
    await second.until_running()

    async def is_done() -> bool:
        second.check()
        return (
            await cluster.committed(Topic.MODEL_CALLER_RETRY_5S, Topic.MODEL_CALLER_RETRY_5S) == 1
        )

    await cluster.until(is_done)
    ends = await events(cluster, Topic.INFERENCE_RESULTS)
    assert {(it.request_id, it.outcome) for it in ends} == {(request_id(1), "completed")}
    assert len({it.response for it in ends}) == 1
    ledger = fold(await events(cluster, Topic.USAGE_LEDGER))
    assert {row_id: (row.kind, row.error_code) for row_id, row in ledger.items()} == {
        f"{request_id(1)}-1": ("attempt", "provider_rate_limited"),
        f"{request_id(1)}-2": ("attempt", ""),
    }
    assert len(provider.asked) == 2
    await second.stop()
