"""Requests whose call may not start: users are told when, background work waits its turn."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.model_caller.breaker import CONSECUTIVE, PAUSE_MS
from services.model_caller.put_off import DELAYS_MS, next_turn
from services.shared.codec.headers import (
    RETRY_TURNS,
    headers_of_delay,
    headers_of_request,
    turns_from,
)
from services.shared.codec.records import decode_record, encode_record
from services.shared.domain.events import (
    CircuitState,
    InferenceRequested,
    ProviderHealth,
    UsageRecorded,
)
from services.shared.domain.topics import RETRY_TOPICS, Topic
from tests.pipeline.journeys.test_redelivery import deliver_again
from tests.pipeline.journeys.travel import STREAMING, Travel, cancel, check_hops, message_of
from tests.support.example_events import routed
from tests.support.pipeline import Pipeline, running_pipeline
from tests.support.scripted_provider import (
    ENDING,
    Asked,
    Script,
    ScriptedProvider,
    answered,
    piece,
    refused,
    streamed,
    whole,
)
from tests.support.stages import publish

HOUR_MS = 3_600_000


def busy(pause_s: int) -> Script:
    """A provider that wants to be left alone."""
    return refused(429, retry_after=f"{pause_s}")


def rows_of(pipeline: Pipeline) -> list[tuple[str, str, str]]:
    """The ledger's rows: id, kind and error."""
    rows = [it for it in pipeline.read_output(Topic.USAGE_LEDGER) if isinstance(it, UsageRecorded)]
    return [(row.row_id, row.kind, row.error_code) for row in rows]


def waiting(pipeline: Pipeline) -> dict[str, int]:
    """Records of each retry topic."""
    return {topic: len(pipeline.cluster.records(topic)) for topic in RETRY_TOPICS}


class Busy:
    """Plays a provider that wants to be left alone for 20 s, so many times."""

    def __init__(self, *, pauses: int) -> None:
        """Start busy."""
        self._left = pauses

    def __call__(self, asked: Asked) -> Script:
        """Answer a call."""
        self._left -= 1
        return busy(20) if self._left >= 0 else answered(asked)


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
    cancel(pipeline, request)
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


# -- its own call was told to wait -----------------------------------------------------------------


@pytest.mark.parametrize("priority", [1, 2])
@pytest.mark.parametrize("streams", [True, False])
async def test_background_work_waits_as_long_as_its_own_call_was_told(
    pipeline: Pipeline, priority: int, *, streams: bool
) -> None:
    """In the topic that fits; then it is called again, and each call has its row."""
    answer = streamed(piece("De"), piece("ep."), *ENDING) if streams else whole()
    travel = Travel(pipeline, first=ScriptedProvider([busy(20), answer]))
    await travel.start()
    changes = {"body": STREAMING, "stream": True} if streams else {}
    request = hour(travel, 1, priority=priority, **changes)
    await travel.ask(request)
    assert waiting(pipeline) == {RETRY_TOPICS[0]: 0, RETRY_TOPICS[1]: 1, RETRY_TOPICS[2]: 0}
    assert (travel.ends(), travel.chunks_of(request.request_id)) == ([], [])
    (caller,) = [it for it in pipeline.processes if it.stage.service == "model-caller"]
    assert caller.runtime.in_flight == 0
    await pipeline.advance(29)
    assert len(travel.first.asked) == 1
    await pipeline.advance(2)
    await pipeline.run_until_quiet()
    end = travel.end_of(request.request_id)
    assert (end.outcome, message_of(end)) == ("completed", "Deep.")
    assert [call.attempt for call in end.calls] == [2]
    assert end.hops[-1].topic == RETRY_TOPICS[1]
    assert len(travel.first.asked) == 2
    assert rows_of(pipeline) == [
        (f"{request.request_id}-1", "attempt", "provider_rate_limited"),
        (f"{request.request_id}-2", "attempt", ""),
    ]


async def test_a_user_whose_call_was_told_to_wait_is_told_so(pipeline: Pipeline) -> None:
    """Priority 0 is refused with the provider's pause."""
    travel = Travel(pipeline, first=ScriptedProvider([busy(20)]))
    await travel.start()
    request = travel.request(1, model="only")
    await travel.ask(request)
    (chunk,) = travel.chunks_of(request.request_id)
    assert (chunk.status, chunk.headers["retry-after"]) == (429, "20")
    assert sum(waiting(pipeline).values()) == 0


async def test_a_fallback_comes_before_waiting(pipeline: Pipeline) -> None:
    """Background work with another target does not wait for the busy one."""
    travel = Travel(pipeline, first=ScriptedProvider([busy(20)]))
    await travel.start()
    request = hour(travel, 1, model="small")
    await travel.ask(request)
    assert [call.provider for call in travel.end_of(request.request_id).calls] == [
        "first",
        "second",
    ]
    assert sum(waiting(pipeline).values()) == 0


async def test_a_pause_that_the_deadline_does_not_allow_is_refused(pipeline: Pipeline) -> None:
    """With the provider's own error, and its pause."""
    travel = Travel(pipeline, first=ScriptedProvider([busy(120)]))
    await travel.start()
    request = travel.request(1, model="only", priority=2)
    await travel.ask(request)
    error = travel.end_of(request.request_id).error
    assert error is not None
    assert error.code == "provider_rate_limited"
    assert sum(waiting(pipeline).values()) == 0
    assert rows_of(pipeline) == [
        (f"{request.request_id}-1", "attempt", "provider_rate_limited"),
    ]


async def test_it_waits_again_where_it_is_told_so_again(pipeline: Pipeline) -> None:
    """By its own call, or by the gate that another call has shut: no call is made then."""
    travel = Travel(pipeline, first=ScriptedProvider([busy(4), busy(25), whole()]))
    await travel.start()
    request = hour(travel, 1)
    await travel.ask(request)
    await pipeline.advance(6)
    await pipeline.run_until_quiet()
    assert len(travel.first.asked) == 2
    other = hour(travel, 2)
    await travel.ask(other)  # the gate is shut by now
    assert len(travel.first.asked) == 2
    await pipeline.advance(65)
    await pipeline.run_until_quiet()
    end = travel.end_of(request.request_id)
    assert [call.attempt for call in end.calls] == [3]
    assert [call.attempt for call in travel.end_of(other.request_id).calls] == [1]
    ids = [row_id for row_id, _, _ in rows_of(pipeline)]
    assert sorted(ids) == sorted(
        [*(f"{request.request_id}-{attempt}" for attempt in (1, 2, 3)), f"{other.request_id}-1"]
    )


@pytest.mark.parametrize("crash", ["before it is due", "its batch comes again", "restarted"])
async def test_what_waits_after_its_call_survives_crashes(
    pipeline: Pipeline, tmp_path: Path, crash: str
) -> None:
    """It is answered once; no attempt has two rows, none is missing."""
    travel = Travel(pipeline, first=ScriptedProvider([busy(20), whole()]))
    await travel.start(slots=tmp_path)
    request = hour(travel, 1)
    await travel.ask(request)
    match crash:
        case "before it is due":
            await travel.kill_and_restart("model-caller", slots=tmp_path)
        case "its batch comes again":
            assert deliver_again(pipeline, Topic.REQUEST_BATCHES_P2)
        case _:
            (caller,) = [it for it in pipeline.processes if it.stage.service == "model-caller"]
            await caller.stop()
            await pipeline.start(travel.stages.model_caller)
    await pipeline.advance(40)
    await pipeline.run_until_quiet()
    ends = [it for it in travel.ends() if it.request_id == request.request_id]
    assert {(it.outcome, it.response) for it in ends} == {("completed", ends[0].response)}
    assert [call.attempt for call in ends[0].calls] == [2]
    assert len(travel.first.asked) == 2
    assert sorted(set(rows_of(pipeline))) == [
        (f"{request.request_id}-1", "attempt", "provider_rate_limited"),
        (f"{request.request_id}-2", "attempt", ""),
    ]


async def test_a_process_that_knows_nothing_of_the_calls_believes_the_record(
    pipeline: Pipeline,
) -> None:
    """The attempts of a record that was put off count, also where the log says no more."""
    travel = Travel(pipeline)
    await travel.start()
    request = hour(travel, 1)
    turn = next_turn(
        msgspec.structs.replace(routed(1), request=request),
        headers={},
        now_ms=pipeline.clock.now_ms() - DELAYS_MS[0],
        attempts=4,
    )
    assert turn is not None
    assert turn.delay is not None
    value = encode_record(turn.event)
    headers = [*headers_of_request(request), *headers_of_delay(turn.delay)]
    pipeline.pipe_raw(turn.topic, value, key=turn.key.encode(), headers=headers)
    await pipeline.run_until_quiet()
    assert [call.attempt for call in travel.end_of(request.request_id).calls] == [5]


async def test_merged_requests_wait_each_for_himself(pipeline: Pipeline) -> None:
    """Who has time comes again, who has none is refused; one call had been made for all."""
    travel = Travel(pipeline, first=ScriptedProvider(Busy(pauses=1)))
    await travel.start()
    body = b'{"model":"embed","input":"%d"}'
    soon = int(pipeline.clock.now_ms()) + 10_000
    requests = [
        hour(
            travel,
            number,
            operation="embeddings",
            model="embed",
            body=body % number,
            **({"deadline_at": soon} if number == 2 else {}),
        )
        for number in range(3)
    ]
    for request in requests:
        publish(pipeline, request)
    await pipeline.advance(1)
    assert [it.request_id for it in travel.ends()] == [requests[2].request_id]
    assert len(travel.first.asked) == 1
    await pipeline.advance(40)
    await pipeline.run_until_quiet()
    outcomes = [travel.end_of(it.request_id).outcome for it in requests]
    assert outcomes == ["completed", "completed", "failed"]
    ids = [row_id for row_id, _, _ in rows_of(pipeline)]
    assert sorted(ids) == sorted(
        f"{it.request_id}-{attempt}"
        for it, attempts in zip(requests, (2, 2, 1), strict=True)
        for attempt in range(1, attempts + 1)
    )
