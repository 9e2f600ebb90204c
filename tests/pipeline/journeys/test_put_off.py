"""Requests whose call may not start: users are told when, background work waits its turn."""

from typing import Any

import pytest

from services.model_caller.breaker import CONSECUTIVE, PAUSE_MS
from services.model_caller.put_off import DELAYS_MS
from services.shared.codec.headers import RETRY_TURNS, turns_from
from services.shared.codec.records import decode_record
from services.shared.domain.events import (
    CircuitState,
    ControlRequested,
    InferenceRequested,
    ProviderHealth,
)
from services.shared.domain.topics import RETRY_TOPICS, Topic
from tests.pipeline.journeys.test_redelivery import deliver_again
from tests.pipeline.journeys.travel import Travel, check_hops, message_of
from tests.support.pipeline import Pipeline, running_pipeline
from tests.support.scripted_provider import Asked, Script, ScriptedProvider, answered, refused

HOUR_MS = 3_600_000


class Failing:
    """A provider that fails until it is healed."""

    def __init__(self) -> None:
        """Start broken."""
        self.is_healed = False
        self.provider = ScriptedProvider(self._play)

    def _play(self, asked: Asked) -> Script:
        return answered(asked) if self.is_healed else refused(500)


async def broken(pipeline: Pipeline) -> tuple[Travel, Failing]:
    """A pipeline whose only provider has just been found broken."""
    failing = Failing()
    travel = Travel(pipeline, first=failing.provider)
    await travel.start()
    requests = [travel.request(number, model="only") for number in range(100, 100 + CONSECUTIVE)]
    await travel.ask(*requests)
    return travel, failing


def hour(travel: Travel, number: int, **changes: Any) -> InferenceRequested:
    """A background request that may take an hour."""
    deadline_at = int(travel.pipeline.clock.now_ms()) + HOUR_MS
    return travel.request(
        number, **{"model": "only", "priority": 2, "deadline_at": deadline_at, **changes}
    )


async def test_a_user_is_told_at_once_when_it_may_work(pipeline: Pipeline) -> None:
    """No call is made; the chunk says 503 and when to come again."""
    travel, failing = await broken(pipeline)
    calls = len(failing.provider.asked)
    request = travel.request(1, model="only")
    await travel.ask(request)
    assert len(failing.provider.asked) == calls
    end = travel.end_of(request.request_id)
    assert end.error is not None
    assert (end.error.code, end.calls) == ("provider_unavailable", ())
    (chunk,) = travel.chunks_of(request.request_id)
    assert (chunk.kind, chunk.status) == ("error", 503)
    assert 0 < int(chunk.headers["retry-after-ms"]) <= PAUSE_MS


async def test_a_user_gets_the_fallback_without_a_call_to_the_broken_one(
    pipeline: Pipeline,
) -> None:
    """An open circuit costs nothing."""
    travel, failing = await broken(pipeline)
    calls = len(failing.provider.asked)
    request = travel.request(1, model="small")
    await travel.ask(request)
    end = travel.end_of(request.request_id)
    assert [call.provider for call in end.calls] == ["second"]
    assert len(failing.provider.asked) == calls


async def test_background_work_waits_and_is_served(pipeline: Pipeline) -> None:
    """Once, in the end, and as if it had not waited; it holds no slot meanwhile."""
    travel, failing = await broken(pipeline)
    request = hour(travel, 1)
    await travel.ask(request)
    (caller,) = [it for it in pipeline.processes if it.stage.service == "model-caller"]
    assert caller.runtime.in_flight == 0
    assert request.request_id not in [end.request_id for end in travel.ends()]
    failing.is_healed = True
    await pipeline.advance(DELAYS_MS[0] / 1000 + 1)
    await pipeline.run_until_quiet()
    end = travel.end_of(request.request_id)
    assert message_of(end) == "Deep."
    assert [call.attempt for call in end.calls] == [1]
    check_hops(end, ["gateway", "cache-lookup", "router", "batcher", "model-caller"])
    assert end.hops[-1].topic == RETRY_TOPICS[0]


async def test_a_user_who_was_refused_is_not_called_for_later(pipeline: Pipeline) -> None:
    """The refusal stands in the attempt log, whoever reads the record again, and when."""
    travel, failing = await broken(pipeline)
    request = travel.request(1, model="only")
    await travel.ask(request)
    calls = len(failing.provider.asked)
    failing.is_healed = True
    tell(pipeline, CircuitState.CLOSED)
    assert deliver_again(pipeline, Topic.REQUEST_BATCHES_P0)
    await pipeline.run_until_quiet()
    (caller,) = [it for it in pipeline.processes if it.stage.service == "model-caller"]
    await caller.stop()
    await pipeline.start(travel.stages.model_caller)
    assert deliver_again(pipeline, Topic.REQUEST_BATCHES_P0)
    await pipeline.run_until_quiet()
    assert len(failing.provider.asked) == calls
    ends = {
        it.error.code for it in travel.ends() if it.request_id == request.request_id and it.error
    }
    assert ends == {"provider_unavailable"}
    await travel.ask(travel.request(2, model="only"))
    assert len(failing.provider.asked) == calls + 1


async def test_background_work_that_comes_again_is_served_once(pipeline: Pipeline) -> None:
    """By whichever of its records is due first, though each was put off by itself."""
    travel, failing = await broken(pipeline)
    calls = len(failing.provider.asked)
    request = hour(travel, 1)
    await travel.ask(request)
    failing.is_healed = True
    assert deliver_again(pipeline, Topic.REQUEST_BATCHES_P2)
    await pipeline.advance(DELAYS_MS[0] / 1000 + 1)
    await pipeline.run_until_quiet()
    assert len(pipeline.cluster.records(RETRY_TOPICS[0])) == 2
    assert deliver_again(pipeline, Topic.REQUEST_BATCHES_P2)
    await pipeline.run_until_quiet()
    assert message_of(travel.end_of(request.request_id)) == "Deep."
    assert len({it.response for it in travel.ends() if it.request_id == request.request_id}) == 1
    assert len(failing.provider.asked) == calls + 1


async def test_background_work_is_cancelled_while_it_waits_its_turn(pipeline: Pipeline) -> None:
    """It ends when its turn comes, without a call."""
    travel, failing = await broken(pipeline)
    calls = len(failing.provider.asked)
    request = hour(travel, 1)
    await travel.ask(request)
    wish = ControlRequested(
        action="cancel",
        request_id=request.request_id,
        tenant=request.tenant,
        at=int(pipeline.clock.now_ms()),
        reason="asked",
    )
    pipeline.pipe_input(Topic.CONTROL, wish)
    failing.is_healed = True
    await pipeline.advance(DELAYS_MS[0] / 1000 + 1)
    await pipeline.run_until_quiet()
    end = travel.end_of(request.request_id)
    assert (end.outcome, end.calls) == ("cancelled", ())
    assert len(failing.provider.asked) == calls


def tell(pipeline: Pipeline, state: CircuitState, *, for_ms: int = 0) -> None:
    """Publish a circuit as another model caller does."""
    now_ms = int(pipeline.clock.now_ms())
    health = ProviderHealth(
        provider="first",
        model="first-model",
        state=state.value,
        at=now_ms,
        until=now_ms + for_ms,
        owner="another",
    )
    pipeline.pipe_input(Topic.PROVIDER_HEALTH, health, key=b"first/first-model")


@pytest.mark.slow
@pytest.mark.timeout(60)  # ten minutes of every stage
async def test_each_turn_waits_longer(pipeline: Pipeline) -> None:
    """5 s, 30 s, 5 min, and then 5 min again, until the provider may be called."""
    travel = Travel(pipeline)
    await travel.start()
    tell(pipeline, CircuitState.OPEN, for_ms=HOUR_MS)
    request = hour(travel, 1)
    await travel.ask(request)
    await pipeline.advance((sum(DELAYS_MS) + DELAYS_MS[-1]) / 1000 + 5)
    turns = [
        (topic, turns_from(dict(raw.headers)[RETRY_TURNS]))
        for topic in RETRY_TOPICS
        for raw in pipeline.cluster.records(topic)
    ]
    assert turns == [
        (RETRY_TOPICS[0], 1),
        (RETRY_TOPICS[1], 2),
        (RETRY_TOPICS[2], 3),
        (RETRY_TOPICS[2], 4),
        (RETRY_TOPICS[2], 5),
    ]
    tell(pipeline, CircuitState.CLOSED)
    await pipeline.advance(DELAYS_MS[-1] / 1000 + 5)
    await pipeline.run_until_quiet()
    assert message_of(travel.end_of(request.request_id)) == "Deep."
    assert len(travel.first.asked) == 1


async def test_a_deadline_that_comes_first_ends_the_request(pipeline: Pipeline) -> None:
    """Nobody waits for a turn that would be too late."""
    travel, _ = await broken(pipeline)
    request = travel.request(1, model="only", priority=2)
    late = int(pipeline.clock.now_ms()) + DELAYS_MS[0] - 100
    request = travel.request(1, model="only", priority=2, deadline_at=late)
    await travel.ask(request)
    error = travel.end_of(request.request_id).error
    assert error is not None
    assert error.code == "provider_unavailable"


@pytest.mark.parametrize("partitions", [2])
async def test_circuits_are_shared_by_all_callers(partitions: int) -> None:
    """What one process found out, another one, and one that starts later, know."""
    async with running_pipeline(partitions=partitions) as pipeline:
        travel, failing = await broken(pipeline)
        health = [
            decode_record(raw.value or b"", ProviderHealth)
            for raw in pipeline.cluster.records(Topic.PROVIDER_HEALTH)
        ]
        assert [(it.provider, it.model, it.state) for it in health] == [
            ("first", "first-model", "open")
        ]
        for process in [it for it in pipeline.processes if it.stage.service == "model-caller"]:
            await process.stop()
        await pipeline.start(travel.stages.model_caller)
        calls = len(failing.provider.asked)
        request = travel.request(1, model="only")
        await travel.ask(request)
        error = travel.end_of(request.request_id).error
        assert error is not None
        assert error.code == "provider_unavailable"
        assert len(failing.provider.asked) == calls
