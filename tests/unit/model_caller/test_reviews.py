"""Which requests are reviewed, and what a review costs nobody."""

import asyncio
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from services.model_caller.decide import RetryBudget
from services.model_caller.review import MAX_BYTES_AT_ONCE, HandOn
from services.model_caller.reviews import Reviews
from services.shared.domain.cascade.calibration import Calibration, Fit
from services.shared.domain.configuration import Configuration, Model, Retries
from services.shared.domain.configuration_output import FeatureOutput, Output, WhenInvalid
from services.shared.domain.events import RequestRouted
from services.shared.domain.money import Usage
from services.shared.domain.terminal import Answer
from tests.support.example_events import batch
from tests.support.fake_clock import clock_of_loop
from tests.support.scripted_provider import ScriptedProvider, refused, whole
from tests.unit.model_caller.callers import TARGETS, Caller, embedding, member, merged

FIT = Fit(intercept=2.0, weights={"refuses": -9.0})
DOUBTFUL = "I'm sorry, I cannot help with that."


def reviews(
    output: Output | None = None, *, registry: CollectorRegistry | None = None, **settings: Any
) -> Reviews:
    """Reviews of a configuration whose alias ``small`` has this section."""
    small = Model(targets=(), output=output or Output())
    return Reviews(
        Configuration(models={"small": small}, **settings),
        calibrations={"": Calibration([FIT])},
        registry=registry or CollectorRegistry(),
    )


def cascading(**changes: Any) -> RequestRouted:
    """A request on a route of two targets that is a cascade."""
    event = member(targets=TARGETS, **changes)
    return msgspec.structs.replace(
        event, route=msgspec.structs.replace(event.route, is_cascade=True)
    )


def test_nothing_is_reviewed_unless_it_is_wanted() -> None:
    """No cascade, no lever, or none that concerns the request."""
    assert reviews().of([member()]) is None
    levers = reviews(Output(max_tokens=100, when_invalid=WhenInvalid.FAIL))
    assert levers.of([member(max_output_tokens=64)]) is None
    assert levers.of([member(max_output_tokens=400)]) is not None
    assert levers.of([member(max_output_tokens=64, has_response_format=True)]) is not None
    assert levers.of([member(model="other", max_output_tokens=400)]) is None
    assert levers.of([embedding(1, b'{"input":"a"}', max_output_tokens=400)]) is None


def test_a_feature_s_cap_holds_for_every_alias() -> None:
    """Also for one that the configuration no longer names."""
    levers = reviews(features={"terse": FeatureOutput(max_tokens=10)})
    for model in ("small", "gone"):
        review = levers.of([member(feature="terse", model=model, max_output_tokens=64)])
        assert review is not None
        assert b'"max_completion_tokens":10' in review.body


def test_members_of_a_merged_call_are_not_judged() -> None:
    """Their answers are no single answer."""
    assert reviews().of([cascading(), cascading()]) is None
    assert reviews().of([cascading()]) is not None


async def test_passing_on_costs_no_retry_budget() -> None:
    """And none of the attempts: the next target has all of its own."""
    registry = CollectorRegistry()
    strong = ScriptedProvider([refused(500), whole("Deep.")])
    caller = Caller(
        {"first": ScriptedProvider([whole(DOUBTFUL)]), "second": strong},
        retries=Retries(max_attempts=2),
        review_of=reviews(registry=registry).of,
    )
    result = await caller.serve(batch(cascading()))
    assert result.one.outcome == "completed"
    assert [call.error_code for call in result.one.calls] == ["", "provider_error", ""]
    assert caller.budget.left(now_s=clock_of_loop().monotonic_s()) >= RetryBudget.ALLOWANCE - 1
    labels = {"provider": "first", "model": "one", "verdict": "escalated"}
    assert registry.get_sample_value("millrace_cascade_verdicts_total", labels) == 1


async def test_merged_calls_are_as_they_were() -> None:
    """A route that is a cascade changes nothing for embeddings."""
    caller = Caller({"first": ScriptedProvider([refused(400)])}, review_of=reviews().of)
    result = await caller.serve(merged(embedding(1, b'{"input":"a"}')))
    assert result.one.outcome == "failed"


_NUMBERS = {"type": "array", "items": {"anyOf": [{"type": "null"}] * 20 + [{"type": "integer"}]}}


@pytest.mark.parametrize(
    ("content", "is_beside", "is_right"),
    [
        ("[1]", False, True),
        ('["x"]', False, False),
        (f"[{'1,' * 100}1]", True, True),  # many steps
        (f'[{"1," * 100}"x"]', True, False),
        (f"[1{' ' * MAX_BYTES_AT_ONCE}]", True, True),  # many bytes
    ],
)
def test_long_checks_are_made_beside_the_loop(
    content: str, *, is_beside: bool, is_right: bool
) -> None:
    """Others have their turn meanwhile, and they come to the same; short ones are made at once."""
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": _NUMBERS}}
    body = {"model": "small", "messages": [], "response_format": wanted}
    request = member(body=msgspec.json.encode(body), has_response_format=True)
    review = reviews(Output(when_invalid=WhenInvalid.FAIL)).of([request])
    assert review is not None
    choice = {"index": 0, "message": {"content": content}, "finish_reason": "stop"}
    answer = Answer(response=msgspec.json.encode({"choices": [choice]}), usage=Usage())
    turns: list[str] = []

    async def settle() -> tuple[bool, bool]:
        asyncio.get_running_loop().call_soon(turns.append, "another")
        step = await review.settle(answer, TARGETS[0], targets_left=0)
        return isinstance(step, HandOn), bool(turns)

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as real:  # fake time has no threads
        assert real.run(settle()) == (is_right, is_beside)
