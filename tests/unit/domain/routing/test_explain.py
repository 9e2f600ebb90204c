"""The explanation of a route is that of the decision itself."""

import msgspec
import pytest

from services.shared.domain.configuration_routing import Strategy
from services.shared.domain.events import InferenceRequested, ProviderHealth
from services.shared.domain.routing.decide import Alias, Caller, Routed, Seen, route_request
from services.shared.domain.routing.explain import Explanation, explained
from services.shared.domain.routing.observed import Observed
from tests.unit.domain.routing.test_strategies import (
    EASY,
    T0,
    alias,
    asked,
    candidate,
    ended,
    ranked,
    said,
)


def explanation(
    request: InferenceRequested, alias_: Alias | None, observed: Observed | None = None
) -> Explanation:
    """The explanation for somebody who may do everything."""
    return explained(
        request,
        caller=Caller(),
        alias=alias_,
        config_version="v1",
        seen=Seen(observed=observed or Observed(), now_ms=T0),
    )


@pytest.mark.parametrize("strategy", Strategy)
def test_the_order_is_that_of_the_decision(strategy: Strategy) -> None:
    """Whatever the strategy: reason, tier, order and cost are those that the router uses."""
    targets, request = alias(strategy, candidate("a"), candidate("b", usd=0.5)), asked()
    observed = Observed()
    observed.take_result(ended("b", output_tokens=50))
    shown = explanation(request, targets, observed)
    decision = route_request(
        request,
        caller=Caller(),
        alias=targets,
        config_version="v1",
        seen=Seen(observed=observed, now_ms=T0),
    )
    assert isinstance(decision, Routed)
    route = decision.route
    assert (shown.decision, shown.strategy) == (route.reason, route.strategy)
    assert (shown.tier, shown.is_cascade) == (route.tier, route.is_cascade)
    order = sorted(shown.targets, key=lambda each: each.position)
    assert [each.name for each in order] == [f"{t.provider}/{t.model}" for t in route.targets]
    assert order[0].expected_cost_nanousd == route.expected_cost_nanousd
    assert (shown.hardness is not None) is (strategy is Strategy.COMPLEXITY)


def test_each_target_says_what_stops_it_and_what_is_known_of_it() -> None:
    """All gates that it fails, not only the first."""
    observed = Observed()
    observed.take_result(ended("b", output_tokens=50, took_ms=700))
    observed.take_result(ended("b", output_tokens=50, took_ms=300, stream=True))
    observed.take_health(ProviderHealth(provider="p", model="b", state="open", at=T0, until=T0 + 9))
    small = candidate("a", window=10)
    facts = msgspec.structs.replace(small.facts, tools=False)
    small = msgspec.structs.replace(small, facts=facts)
    targets = alias(Strategy.CHEAPEST, small, candidate("b"))
    a, b = explanation(asked(has_tools=True), targets, observed).targets
    assert (a.name, a.position, a.stopped_by) == ("p/a", 0, ("tools", "context"))
    assert (a.output_tokens, a.first_output_ms, a.whole_ms, a.is_open) == (None,) * 3 + (False,)
    assert (b.name, b.position, b.stopped_by) == ("p/b", 1, ())
    assert (b.output_tokens, b.first_output_ms, b.whole_ms, b.is_open) == (50, 300, 700, True)


def test_a_refusal_is_explained_as_well() -> None:
    """With the message that its caller gets, and what stops each target."""
    shown = explanation(asked(), alias(Strategy.FIXED, candidate("a", window=10)))
    assert shown.is_refused
    assert "maximum context length is 10 tokens" in shown.decision
    assert shown.targets[0].stopped_by == ("context",)
    nobody = explanation(asked(), None)
    assert nobody.is_refused
    assert (nobody.strategy, nobody.targets) == ("", ())


def test_the_classifiers_figures_are_shown() -> None:
    """Score, cues, cuts and what these are based on."""
    hardness = explanation(said(EASY), ranked()).hardness
    assert hardness is not None
    assert 0 < hardness.score < 0.1
    assert hardness.cues
    assert (len(hardness.limits), len(hardness.shares)) == (2, 3)
    assert (hardness.is_unsure, hardness.own_requests) == (False, 0)
