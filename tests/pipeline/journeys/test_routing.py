"""Routes that depend on how earlier requests ended."""

from pathlib import Path

import msgspec

from services.shared.domain.configuration_routing import Strategy
from services.shared.domain.events import InferenceFinished, ProviderHealth
from services.shared.domain.topics import Topic
from tests.pipeline.journeys.travel import Travel
from tests.support.example_events import request_id
from tests.support.pipeline import Pipeline
from tests.support.stages import configuration

SEEN_WITHIN_S = 1.0


def travel_by(strategy: Strategy, pipeline: Pipeline) -> Travel:
    """A pipeline whose alias ``small`` has a strategy."""
    plain = configuration()
    small = msgspec.structs.replace(plain.models["small"], strategy=strategy)
    models = {**plain.models, "small": small}
    return Travel(pipeline, settings=msgspec.structs.replace(plain, models=models))


async def asked(travel: Travel, number: int) -> InferenceFinished:
    """Ask for something new, and let its end be seen."""
    await travel.ask(travel.request(number, fingerprint=f"{number:064x}"))
    await travel.pipeline.advance(SEEN_WITHIN_S)
    return travel.end_of(request_id(number))


def reason_of(finished: InferenceFinished) -> str:
    """Why a request went where it went."""
    assert finished.route is not None
    return finished.route.reason


async def test_the_length_of_answers_is_learnt_from_results(pipeline: Pipeline) -> None:
    """The second request is expected to cost what the first one taught."""
    travel = travel_by(Strategy.CHEAPEST, pipeline)
    await travel.start()
    assert "answers not seen yet" in reason_of(await asked(travel, 1))
    assert "answers of 2 tokens" in reason_of(await asked(travel, 2))


async def test_a_router_that_starts_reads_back_what_was_learnt(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    """Nothing of it lives in the process alone."""
    travel = travel_by(Strategy.CHEAPEST, pipeline)
    await travel.start(slots=tmp_path)
    await asked(travel, 1)
    await travel.kill_and_restart("router", slots=tmp_path)
    await pipeline.advance(SEEN_WITHIN_S)
    assert "answers of 2 tokens" in reason_of(await asked(travel, 2))


async def test_what_has_ended_is_not_under_way(pipeline: Pipeline) -> None:
    """Once its end is seen, a request burdens its target no longer."""
    travel = travel_by(Strategy.LEAST_BUSY, pipeline)
    await travel.start()
    for number in (1, 2):
        reason = reason_of(await asked(travel, number))
        assert reason == "0 tokens under way; next 0"


async def test_a_target_whose_circuit_is_open_is_asked_last(pipeline: Pipeline) -> None:
    """Any model caller may have found out; the router follows what they publish."""
    travel = travel_by(Strategy.CHEAPEST, pipeline)
    await travel.start()
    now_ms = int(pipeline.clock.now_ms())
    pipeline.pipe_input(
        Topic.PROVIDER_HEALTH,
        ProviderHealth(
            provider="first",
            model="first-model",
            state="open",
            at=now_ms,
            until=now_ms + 60_000,
            owner="another",
        ),
    )
    await pipeline.advance(SEEN_WITHIN_S)
    finished = await asked(travel, 1)
    assert reason_of(finished).endswith("; circuit open: first/first-model")
    assert finished.calls[0].provider == "second"
