"""The router's decision: gates, strategies, refusals."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.configuration import Modality, Model, ModelTarget
from services.shared.domain.configuration_routing import Strategy
from services.shared.domain.events import InferenceRequested, Operation
from services.shared.domain.model_facts import ModelFacts, PriceStep
from services.shared.domain.money import Price
from services.shared.domain.routing.decide import Alias, Caller, Refused, Routed, route_request
from services.shared.domain.routing.gates import Candidate, Gate, gate_that_stops
from services.shared.domain.routing.strategies.expected_cost import (
    EXPECTED_OUTPUT_TOKENS,
    expected_cost_nanousd,
)

PRICED = (PriceStep(price=Price(input_nanousd_per_mtok=1_000_000_000, version="test")),)
ANYBODY = Caller()


def candidate(
    name: str = "a",
    *,
    weight: int = 1,
    tiers: tuple[str, ...] = (),
    facts: ModelFacts | None = None,
) -> Candidate:
    """A target of provider ``p``, by default one that takes everything."""
    target = ModelTarget(provider="p", model=name, weight=weight, tiers=tiers)
    return Candidate(target=target, model=name, facts=facts or ModelFacts(prices=PRICED))


def facts(**known: object) -> ModelFacts:
    """Facts about a model with a price."""
    return ModelFacts(**{"prices": PRICED, **known})  # type: ignore[arg-type]  # the tests' names


def alias(
    *candidates: Candidate,
    strategy: Strategy = Strategy.FIXED,
    operations: tuple[Operation, ...] = (),
) -> Alias:
    """An alias of these targets."""
    model = Model(
        targets=tuple(each.target for each in candidates), strategy=strategy, operations=operations
    )
    return Alias(model=model, candidates=candidates)


def asked(**said: object) -> InferenceRequested:
    """A chat request for the model ``m``."""
    values = {"request_id": "req_1", "operation": "chat", "body": b"{}", "model": "m"}
    return InferenceRequested(**{**values, **said})  # type: ignore[arg-type]  # the tests' names


def decided(request: InferenceRequested, alias: Alias | None) -> Routed | Refused:
    """The decision for a caller who may ask for everything."""
    return route_request(request, caller=ANYBODY, alias=alias, config_version="v1")


def models_of(decision: Routed | Refused) -> list[str]:
    """Models of a decision, in order."""
    assert isinstance(decision, Routed)
    return [target.model for target in decision.route.targets]


def error_of(decision: Routed | Refused) -> tuple[str, str]:
    """Code and field of a refusal."""
    assert isinstance(decision, Refused)
    return decision.error.code, decision.error.param


def test_a_decision_says_everything_that_explains_it() -> None:
    """The route holds strategy, reason, version, cost and targets; the lane is the first's."""
    decision = decided(asked(estimated_input_tokens=1_000), alias(candidate("a"), candidate("b")))
    assert isinstance(decision, Routed)
    assert decision.lane == "p/a/chat"
    route = decision.route
    assert (route.alias, route.strategy, route.config_version) == ("m", "fixed", "v1")
    assert route.reason == "first in order that can serve it"
    assert route.expected_cost_nanousd == 1_000_000
    assert [target.price for target in route.targets] == [PRICED[0].price] * 2


@pytest.mark.parametrize(
    ("said", "known", "gate"),
    [
        pytest.param({}, ModelFacts(), Gate.PRICE, id="unknown_price"),
        pytest.param({"has_tools": True}, facts(tools=False), Gate.TOOLS, id="no_tools"),
        pytest.param({"has_tools": True}, facts(tools=None), None, id="tools_not_known"),
        pytest.param({"has_tools": True}, facts(tools=True), None, id="tools"),
        pytest.param({}, facts(tools=False), None, id="no_tools_asked"),
        pytest.param(
            {"has_images": True},
            facts(input_modalities=(Modality.TEXT,)),
            Gate.MODALITY,
            id="text_only",
        ),
        pytest.param(
            {"has_images": True},
            facts(input_modalities=(Modality.TEXT, Modality.IMAGE)),
            None,
            id="images",
        ),
        pytest.param({"has_images": True}, facts(), None, id="modalities_not_known"),
        pytest.param({}, facts(input_modalities=(Modality.TEXT,)), None, id="no_images_sent"),
        pytest.param(
            {"max_output_tokens": 101}, facts(max_output_tokens=100), Gate.OUTPUT, id="too_much"
        ),
        pytest.param({"max_output_tokens": 100}, facts(max_output_tokens=100), None, id="fits"),
        pytest.param(
            {"estimated_input_tokens": 90, "max_output_tokens": 11},
            facts(context_window_tokens=100),
            Gate.CONTEXT,
            id="window_too_small",
        ),
        pytest.param(
            {"estimated_input_tokens": 90, "max_output_tokens": 10},
            facts(context_window_tokens=100),
            None,
            id="window_exact",
        ),
        pytest.param(
            {"operation": "embeddings", "estimated_input_tokens": 101},
            facts(context_window_tokens=100),
            None,
            id="each_embedded_input_has_its_own_window",
        ),
    ],
)
def test_a_gate_stops_only_what_is_known_not_to_fit(
    said: dict[str, object], known: ModelFacts, gate: Gate | None
) -> None:
    """What is known not to fit is stopped, at the boundary; what is not known passes."""
    assert gate_that_stops(asked(**said), candidate(facts=known)) == gate


@pytest.mark.parametrize(
    ("tier", "tiers", "gate"),
    [
        ("gold", ("gold", "silver"), None),
        ("", (), None),
        ("gold", (), None),
        ("", ("gold",), Gate.TIER),
        ("bronze", ("gold",), Gate.TIER),
    ],
)
def test_a_target_serves_its_tiers(tier: str, tiers: tuple[str, ...], gate: Gate | None) -> None:
    """A target that names tiers serves no other; one that names none serves all."""
    assert gate_that_stops(asked(tier=tier), candidate(tiers=tiers)) == gate


def test_a_stopped_target_is_passed_over_and_the_reason_says_so() -> None:
    """The next target that can serve the request leads; the reason names what was skipped."""
    small = candidate("small", facts=facts(context_window_tokens=10))
    decision = decided(asked(estimated_input_tokens=11), alias(small, candidate("big")))
    assert models_of(decision) == ["big"]
    assert isinstance(decision, Routed)
    assert decision.route.reason.endswith("; skipped p/small (context)")


CHAT_ONLY = alias(candidate(), operations=(Operation.CHAT,))


@pytest.mark.parametrize(
    ("caller", "served", "said", "error"),
    [
        pytest.param(None, CHAT_ONLY, {"key_id": "k"}, ("invalid_api_key", ""), id="unknown_key"),
        pytest.param(
            Caller(disabled=True),
            CHAT_ONLY,
            {"key_id": "k"},
            ("invalid_api_key", ""),
            id="disabled",
        ),
        pytest.param(
            Caller(disabled=True), CHAT_ONLY, {}, ("invalid_api_key", ""), id="no_producers"
        ),
        pytest.param(ANYBODY, None, {}, ("model_not_found", "model"), id="unknown_model"),
        pytest.param(
            Caller(models=("x", "y-*")),
            CHAT_ONLY,
            {},
            ("model_not_found", "model"),
            id="not_allowed",
        ),
        pytest.param(
            ANYBODY,
            CHAT_ONLY,
            {"operation": "embeddings"},
            ("unsupported_value", "model"),
            id="other_operation",
        ),
    ],
)
def test_what_the_caller_may_not_have_is_refused(
    caller: Caller | None, served: Alias | None, said: dict[str, object], error: tuple[str, str]
) -> None:
    """Unknown callers, models that are unknown or not allowed, and other operations are refused."""
    decision = route_request(asked(**said), caller=caller, alias=served, config_version="v1")
    assert error_of(decision) == error


def test_a_producer_is_told_of_the_switch_and_a_key_holder_of_the_key() -> None:
    """The refusal of an unknown caller names what that caller can do something about."""
    for key_id, hint in (("", "kafka_producers.enabled"), ("k", "API key")):
        decision = route_request(
            asked(key_id=key_id), caller=None, alias=alias(candidate()), config_version="v1"
        )
        assert isinstance(decision, Refused)
        assert hint in decision.error.message


@pytest.mark.parametrize("allowed", [("m",), ("x", "m*"), ("*",), ()])
def test_what_the_caller_may_have_is_served(allowed: tuple[str, ...]) -> None:
    """A key's list holds names and patterns; an empty one allows everything."""
    decision = route_request(
        asked(),
        caller=Caller(models=allowed),
        alias=CHAT_ONLY,
        config_version="v1",
    )
    assert models_of(decision) == ["a"]


@pytest.mark.parametrize(
    ("said", "target", "error", "words"),
    [
        pytest.param(
            {}, candidate(facts=ModelFacts()), ("model_not_found", "model"), "price", id="price"
        ),
        pytest.param({}, candidate(tiers=("x",)), ("model_not_found", "model"), "tier", id="tier"),
        pytest.param(
            {"has_tools": True},
            candidate(facts=facts(tools=False)),
            ("unsupported_parameter", "tools"),
            "tools",
            id="tools",
        ),
        pytest.param(
            {"has_images": True},
            candidate(facts=facts(input_modalities=())),
            ("unsupported_modality", "messages"),
            "images",
            id="images",
        ),
        pytest.param(
            {"max_output_tokens": 11},
            candidate(facts=facts(max_output_tokens=10)),
            ("invalid_value", "max_tokens"),
            "at most 10 output tokens",
            id="output",
        ),
        pytest.param(
            {"estimated_input_tokens": 11},
            candidate(facts=facts(context_window_tokens=10)),
            ("context_length_exceeded", "messages"),
            "maximum context length is 10 tokens",
            id="context",
        ),
        pytest.param(
            {"estimated_input_tokens": 11, "operation": "text_completion"},
            candidate(facts=facts(context_window_tokens=10)),
            ("context_length_exceeded", "prompt"),
            "needs about 11",
            id="context_of_a_prompt",
        ),
    ],
)
def test_a_refusal_says_what_no_target_could_do(
    said: dict[str, object], target: Candidate, error: tuple[str, str], words: str
) -> None:
    """Each gate has its own error code, field and words."""
    decision = decided(asked(**said), alias(target))
    assert error_of(decision) == error
    assert isinstance(decision, Refused)
    assert words in decision.error.message


@given(st.permutations(["tools", "context_10", "context_20", "unpriced"]))
def test_a_refusal_is_that_of_the_target_that_came_farthest(order: list[str]) -> None:
    """Whatever the order of the targets, the farthest gate and the largest window are named."""
    known = {
        "tools": facts(tools=False),
        "context_10": facts(context_window_tokens=10),
        "context_20": facts(context_window_tokens=20),
        "unpriced": ModelFacts(),
    }
    targets = [candidate(name, facts=known[name]) for name in order]
    decision = decided(asked(has_tools=True, estimated_input_tokens=21), alias(*targets))
    assert isinstance(decision, Refused)
    assert decision.error.code == "context_length_exceeded"
    assert "is 20 tokens" in decision.error.message


def test_messages_repeat_little_of_the_callers_text() -> None:
    """At most 64 characters of the model's name come back."""
    decision = decided(asked(model="m" * 200), None)
    assert isinstance(decision, Refused)
    assert "m" * 64 in decision.error.message
    assert "m" * 65 not in decision.error.message


@pytest.mark.parametrize(
    ("tier", "order", "reason"),
    [
        ("gold", ["for_gold", "for_all", "for_all_too"], "serves tier 'gold'"),
        ("", ["for_all", "for_all_too"], "serves every tier"),
    ],
)
def test_by_tier_those_that_name_it_come_first(tier: str, order: list[str], reason: str) -> None:
    """Under ``tier``, targets that name the caller's tier lead and open ones follow, in order."""
    targets = (
        candidate("for_all"),
        candidate("for_gold", tiers=("gold",)),
        candidate("for_all_too"),
    )
    decision = decided(asked(tier=tier), alias(*targets, strategy=Strategy.TIER))
    assert models_of(decision) == order
    assert isinstance(decision, Routed)
    assert decision.route.reason.startswith(reason)


def test_shares_follow_the_weights() -> None:
    """Over 4,000 requests each share is within three standard deviations of its weight."""
    targets = alias(
        candidate("a", weight=70),
        candidate("b", weight=20),
        candidate("c", weight=10),
        strategy=Strategy.WEIGHTED,
    )
    count = 4_000
    first = Counter(
        models_of(decided(asked(request_id=f"req_{number}"), targets))[0] for number in range(count)
    )
    for name, share in (("a", 0.7), ("b", 0.2), ("c", 0.1)):
        deviation = (count * share * (1 - share)) ** 0.5
        assert abs(first[name] - count * share) < 3 * deviation, first


@given(
    weights=st.dictionaries(
        st.text("abcdef", min_size=1, max_size=3), st.integers(0, 9), min_size=1
    ),
    data=st.data(),
    conversation=st.sampled_from(["", "c1"]),
)
def test_the_order_in_the_file_does_not_move_a_weighted_choice(
    weights: dict[str, int], data: st.DataObject, conversation: str
) -> None:
    """Any order of weighted targets gives one order of the route; those of weight 0 are last."""
    targets = [candidate(name, weight=weight) for name, weight in weights.items()]
    shuffled = data.draw(st.permutations(targets))
    request = asked(conversation_id=conversation)
    chosen = models_of(decided(request, alias(*targets, strategy=Strategy.WEIGHTED)))
    again = models_of(decided(request, alias(*shuffled, strategy=Strategy.WEIGHTED)))
    weighted = sum(1 for weight in weights.values() if weight)
    assert chosen[:weighted] == again[:weighted]
    assert set(chosen[weighted:]) == {name for name, weight in weights.items() if not weight}


@given(st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=20, unique=True))
def test_a_conversation_stays_where_it_is(request_ids: list[str]) -> None:
    """Requests of one conversation are routed alike, whatever their ids."""
    targets = alias(candidate("a"), candidate("b"), candidate("c"), strategy=Strategy.WEIGHTED)
    routes = {
        tuple(models_of(decided(asked(request_id=each, conversation_id="c"), targets)))
        for each in request_ids
    }
    assert len(routes) == 1


@given(st.integers(0, 10_000))
def test_a_target_that_drops_out_moves_only_its_own_share(number: int) -> None:
    """Without one target, the others keep their order: a request moves only if it was there."""
    request = asked(request_id=f"req_{number}")
    all_three = [candidate("a"), candidate("b", weight=5), candidate("c", weight=2)]
    before = models_of(decided(request, alias(*all_three, strategy=Strategy.WEIGHTED)))
    after = models_of(decided(request, alias(*all_three[:2], strategy=Strategy.WEIGHTED)))
    assert after == [name for name in before if name != "c"]


def test_a_fallback_serves_when_no_weighted_target_can() -> None:
    """With every weighted target stopped, those of weight 0 serve, in their order."""
    targets = alias(
        candidate("a", facts=facts(tools=False)),
        candidate("spare", weight=0),
        candidate("spare_too", weight=0),
        strategy=Strategy.WEIGHTED,
    )
    decision = decided(asked(has_tools=True), targets)
    assert models_of(decision) == ["spare", "spare_too"]
    assert isinstance(decision, Routed)
    assert decision.route.reason.startswith("only a fallback")


def test_the_reason_names_the_weight_and_what_it_sticks_to() -> None:
    """People see the share of the target and whether request or conversation decided."""
    targets = alias(candidate("a", weight=3), strategy=Strategy.WEIGHTED)
    for said, by in (({}, "request"), ({"conversation_id": "c"}, "conversation")):
        decision = decided(asked(**said), targets)
        assert isinstance(decision, Routed)
        assert decision.route.reason == f"weight 3 of 3, by {by}"


@pytest.mark.parametrize("strategy", Strategy)
def test_every_strategy_orders_all_targets_that_passed(strategy: Strategy) -> None:
    """Whatever the strategy, the first choice is followed by all other targets as fallbacks."""
    targets = alias(candidate("a"), candidate("b"), candidate("c", weight=0), strategy=strategy)
    assert sorted(models_of(decided(asked(), targets))) == ["a", "b", "c"]


@given(
    tokens=st.integers(0, 100_000),
    cap=st.integers(0, 5_000),
    strategy=st.sampled_from(Strategy),
    request_id=st.text(min_size=1, max_size=20),
)
def test_a_replayed_request_is_routed_the_same_way(
    tokens: int, cap: int, strategy: Strategy, request_id: str
) -> None:
    """The decision is a function of the request and the configuration, and of nothing else."""
    targets = alias(
        candidate("a", facts=facts(context_window_tokens=50_000)), candidate("b"), strategy=strategy
    )
    request = asked(request_id=request_id, estimated_input_tokens=tokens, max_output_tokens=cap)
    assert decided(request, targets) == decided(request, targets)


def test_the_price_is_that_of_the_requests_size() -> None:
    """Where a model costs more above a size, the route carries the price of this request."""
    small, large = Price(input_nanousd_per_mtok=1), Price(input_nanousd_per_mtok=2)
    steps = (PriceStep(above_input_tokens=200, price=large), PriceStep(price=small))
    targets = alias(candidate(facts=ModelFacts(prices=steps)))
    for tokens, price in ((200, small), (201, large)):
        decision = decided(asked(estimated_input_tokens=tokens), targets)
        assert isinstance(decision, Routed)
        assert decision.route.targets[0].price == price


@pytest.mark.parametrize(
    ("said", "tokens"),
    [
        ({}, EXPECTED_OUTPUT_TOKENS),
        ({"max_output_tokens": 10}, 10),
        ({"max_output_tokens": 10, "choice_count": 3}, 30),
        ({"max_output_tokens": 10_000}, EXPECTED_OUTPUT_TOKENS),
        ({"operation": "embeddings"}, 0),
    ],
)
def test_the_expected_output_is_capped_by_the_caller(said: dict[str, object], tokens: int) -> None:
    """Expected output is a typical answer or the cap, for each choice; embeddings have none."""
    price = Price(output_nanousd_per_mtok=1_000_000)
    assert expected_cost_nanousd(asked(**said), price) == tokens
