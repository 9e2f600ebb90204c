"""The strategies that look at what was observed, and what may change their orders."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.complexity.classifier import Classifier, Weights
from services.shared.domain.configuration import Model, ModelTarget
from services.shared.domain.configuration_routing import (
    Cascade,
    CascadeStream,
    Complexity,
    Strategy,
    WhenUnsure,
)
from services.shared.domain.events import (
    CircuitState,
    InferenceFinished,
    InferenceRequested,
    ModelCall,
    ProviderHealth,
    Route,
)
from services.shared.domain.model_facts import ModelFacts, PriceStep
from services.shared.domain.money import Price, Usage
from services.shared.domain.routing.decide import (
    Alias,
    Caller,
    Routed,
    Seen,
    remember,
    route_request,
)
from services.shared.domain.routing.gates import Candidate
from services.shared.domain.routing.observed import (
    PROMPT_CACHE_IDLE_MS,
    Conversation,
    Observed,
)
from services.shared.domain.routing.strategies.fastest import TRIAL_SHARE

T0 = 1_790_000_000_000
USD = 1_000_000_000


def candidate(
    name: str, *, usd: float = 1, cached_usd: float | None = None, weight: int = 1, window: int = 0
) -> Candidate:
    """A target of provider ``p`` with a price for a million tokens, of input and output."""
    cached = usd if cached_usd is None else cached_usd
    price = Price(
        input_nanousd_per_mtok=int(usd * USD),
        cached_input_nanousd_per_mtok=int(cached * USD),
        output_nanousd_per_mtok=int(usd * USD),
    )
    facts = ModelFacts(prices=(PriceStep(price=price),), context_window_tokens=window)
    target = ModelTarget(provider="p", model=name, weight=weight)
    return Candidate(target=target, model=name, facts=facts)


def alias(strategy: Strategy, *candidates: Candidate, **said: Any) -> Alias:
    """An alias of these targets."""
    classifier = said.pop("classifier", None)
    model = Model(
        targets=tuple(each.target for each in candidates),
        strategy=strategy,
        **said,
    )
    return Alias(model=model, candidates=candidates, classifier=classifier)


def asked(request_id: str = "req_1", **said: Any) -> InferenceRequested:
    """A chat request for the model ``m``."""
    values = {"operation": "chat", "body": b"{}", "model": "m", "estimated_input_tokens": 2_000}
    return InferenceRequested(request_id=request_id, **{**values, **said})


def routed(
    request: InferenceRequested, alias: Alias, observed: Observed | None = None, at_ms: float = T0
) -> Routed:
    """Where a request goes."""
    decision = route_request(
        request,
        caller=Caller(),
        alias=alias,
        config_version="v1",
        seen=Seen(observed=observed or Observed(), now_ms=at_ms),
    )
    assert isinstance(decision, Routed)
    return decision


def order(decision: Routed) -> str:
    """Models of a decision, in order, by their letters."""
    return "".join(target.model for target in decision.route.targets)


def ended(
    model: str,
    *,
    output_tokens: int = 100,
    input_tokens: int = 2_000,
    took_ms: float = 1_000,
    **said: Any,
) -> InferenceFinished:
    """The end of a request that a target answered."""
    call = ModelCall(
        attempt=1,
        provider="p",
        model=model,
        started_ms=0.0,
        first_chunk_ms=took_ms,
        finished_ms=took_ms,
        usage=Usage(input_tokens=input_tokens, output_tokens=output_tokens),
    )
    values = {"model": "m", "accepted_at": T0 - 1_000, "finished_at": T0, "calls": (call,)}
    return InferenceFinished(request_id="req_0", outcome="completed", **{**values, **said})


# --- cheapest -------------------------------------------------------------------------------------


def test_the_cheapest_is_that_of_the_least_expected_cost() -> None:
    """Price alone decides while no answers are known."""
    decision = routed(asked(), alias(Strategy.CHEAPEST, candidate("a", usd=2), candidate("b")))
    assert order(decision) == "ba"
    assert decision.route.reason == (
        "expected cost $0.002256, answers not seen yet; next $0.004512"
    )
    assert decision.route.expected_cost_nanousd == 2_256_000


def test_a_talkative_model_is_dear_at_a_low_price() -> None:
    """Mean lengths of answers are learnt for each alias and target."""
    observed = Observed()
    observed.take_result(ended("a", output_tokens=10))
    observed.take_result(ended("b", output_tokens=9_000))
    targets = alias(Strategy.CHEAPEST, candidate("a", usd=2), candidate("b"))
    decision = routed(asked(), targets, observed)
    assert order(decision) == "ab"
    assert decision.route.reason == (
        "expected cost $0.004020, answers of 10 tokens; next $0.011000"
    )


def test_the_callers_cap_bounds_what_an_answer_can_cost() -> None:
    """Whatever was learnt, no more than ``max_tokens`` are paid for."""
    observed = Observed()
    observed.take_result(ended("a", output_tokens=9_000))
    decision = routed(
        asked(max_output_tokens=100), alias(Strategy.CHEAPEST, candidate("a")), observed
    )
    assert decision.route.expected_cost_nanousd == 2_100_000
    assert decision.route.reason == "expected cost $0.002100, answers of 9000 tokens"


def test_a_prompt_cache_is_a_part_of_the_cost() -> None:
    """A conversation stays at a dearer target while its cached tokens make it the cheaper one."""
    observed = Observed()
    targets = alias(
        Strategy.CHEAPEST, candidate("a", usd=1.2, cached_usd=0.1), candidate("b", usd=1)
    )
    request = asked(conversation_id="c")
    key = routed(request, targets).route.conversation
    observed.hold(key, Conversation(target="p/a", tokens=1_900, at_ms=T0))
    assert order(routed(request, targets, observed)) == "ab"
    assert order(routed(request, targets, observed, T0 + PROMPT_CACHE_IDLE_MS + 1)) == "ba"
    observed.hold(key, Conversation(target="p/a", tokens=1_000, at_ms=T0))
    assert order(routed(request, targets, observed)) == "ba"  # too short for a prompt cache


# --- fastest --------------------------------------------------------------------------------------


def timed(observed: Observed, **took_ms: float) -> Observed:
    """Enough samples for each target."""
    for model, each in took_ms.items():
        for _ in range(4):
            observed.take_result(ended(model, took_ms=each))
            observed.take_result(ended(model, took_ms=each / 2, stream=True))
    return observed


FAST = alias(Strategy.FASTEST, candidate("a"), candidate("b"), sticky=False)


def test_the_fastest_is_that_of_the_least_time() -> None:
    """Streams go by the time to the first output, the rest by the whole time."""
    observed = timed(Observed(), a=900, b=500)
    decision = routed(asked(), FAST, observed)
    assert (order(decision), decision.route.reason) == ("ba", "duration 500 ms; next 900 ms")
    decision = routed(asked(stream=True), FAST, observed)
    assert decision.route.reason == "time to first output 250 ms; next 450 ms"


def test_the_leader_keeps_the_lead_unless_another_is_clearly_faster() -> None:
    """Noise must not move the traffic to and fro."""
    observed = timed(Observed(), a=550, b=500)
    observed.lead("m", "p/a")
    assert order(routed(asked(), FAST, observed)) == "ab"
    observed = timed(Observed(), a=600, b=500)
    observed.lead("m", "p/a")
    assert order(routed(asked(), FAST, observed)) == "ba"


def test_what_is_not_known_gets_its_share_of_trials() -> None:
    """About one request in twenty, picked by the request alone, so that a replay picks it too."""
    observed = timed(Observed(), a=500)
    decisions = [routed(asked(f"req_{number}"), FAST, observed) for number in range(2_000)]
    trials = [each for each in decisions if each.is_trial]
    assert {order(each) for each in trials} == {"ba"}
    assert {order(each) for each in decisions if not each.is_trial} == {"ab"}
    assert len(trials) / 2_000 == pytest.approx(TRIAL_SHARE, abs=0.015)
    assert {each.route.reason for each in decisions if not each.is_trial} == {"duration 500 ms"}


def test_while_nothing_is_known_all_are_tried() -> None:
    """Each of them alike."""
    first = [order(routed(asked(f"req_{number}"), FAST))[0] for number in range(400)]
    assert first.count("a") == pytest.approx(200, abs=60)


def test_a_trial_does_not_take_the_lead() -> None:
    """Only what leads for its own sake is kept."""
    observed = Observed()
    request = asked()
    remember(observed, request, routed(request, FAST, observed), now_ms=T0)
    assert observed.leader("m") == ""
    timed(observed, a=900, b=500)
    remember(observed, request, routed(request, FAST, observed), now_ms=T0)
    assert observed.leader("m") == "p/b"


# --- least_busy -----------------------------------------------------------------------------------


def test_the_least_busy_gets_the_next_request() -> None:
    """Tokens under way in proportion to the weights; weight 0 is a fallback."""
    targets = alias(
        Strategy.LEAST_BUSY,
        candidate("z", weight=0),
        candidate("a", weight=3),
        candidate("b"),
        sticky=False,
    )
    observed, first = Observed(), ""
    for number in range(40):
        request = asked(f"req_{number}")
        decision = routed(request, targets, observed)
        assert order(decision)[-1] == "z"
        remember(observed, request, decision, now_ms=T0)
        first += order(decision)[0]
    assert (first.count("a"), first.count("b")) == (30, 10)
    reason = routed(asked(), targets, observed).route.reason
    assert reason == "67680 tokens under way; next 22560"


def test_a_lone_target_is_the_least_busy() -> None:
    """There is no next one to name."""
    decision = routed(asked(), alias(Strategy.LEAST_BUSY, candidate("a")))
    assert decision.route.reason == "0 tokens under way"


# --- cascade --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "stream", "why"),
    [
        ({}, CascadeStream.BUFFER, ""),
        ({"stream": True}, CascadeStream.PREFIX, ""),
        ({"stream": True}, CascadeStream.SKIP, "streams are not"),
        ({"choice_count": 2}, CascadeStream.BUFFER, "it has several choices"),
        ({"operation": "embeddings"}, CascadeStream.BUFFER, "embeddings are not"),
        ({"estimated_input_tokens": 6_000}, CascadeStream.BUFFER, "there is no other target"),
    ],
)
def test_a_cascade_begins_with_the_weakest(
    said: dict[str, Any], stream: CascadeStream, why: str
) -> None:
    """And judges its answer where it can be judged, and there is another target."""
    targets = alias(
        Strategy.CASCADE,
        candidate("a"),
        candidate("b", window=5_000),
        cascade=Cascade(threshold=0.8, stream=stream),
    )
    decision = routed(asked(**said), targets)
    assert order(decision)[0] == "a"
    assert decision.route.is_cascade is not bool(why)
    wanted = f"not judged: {why}" if why else "good with less than 0.8"
    assert wanted in decision.route.reason


# --- complexity -----------------------------------------------------------------------------------

WEIGHTS = Weights(
    format="",
    unit=1.0,
    mean=0.0,
    deviation=1.0,
    reference=tuple((index + 0.5) / 100 for index in range(100)),
    grams={"alpha": -9, "omega": 9},
)


def ranked(*candidates: Candidate, **said: Any) -> Alias:
    """An alias by complexity, with a classifier that knows two words."""
    targets = candidates or (candidate("a"), candidate("b"), candidate("c"))
    return alias(
        Strategy.COMPLEXITY,
        *targets,
        classifier=Classifier(WEIGHTS),
        complexity=Complexity(**said),
    )


def said(text: str, **more: Any) -> InferenceRequested:
    """A chat that says this."""
    body = msgspec.json.encode({"messages": [{"role": "user", "content": text}]})
    return asked(body=body, **more)


EASY, HARD, UNCLEAR = "alpha", "omega", "zzzz qqqq"


def test_the_harder_a_request_the_stronger_its_target() -> None:
    """Then come stronger ones as fallbacks, then weaker ones; score and tier stand in the route."""
    easy, hard = routed(said(EASY), ranked()), routed(said(HARD), ranked())
    assert (order(easy), easy.route.tier) == ("abc", "easy")
    assert (order(hard), hard.route.tier) == ("cba", "hard")
    assert 0 < easy.route.score < 0.1
    assert hard.route.score > 0.9
    assert "score" in hard.route.reason
    assert "cuts" in hard.route.reason


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(WhenUnsure.WEAK, "abc"), (WhenUnsure.MIDDLE, "bca"), (WhenUnsure.STRONG, "cba")],
)
def test_i_do_not_know_has_a_policy(policy: WhenUnsure, expected: str) -> None:
    """A request that shows nothing has no score, and goes where the policy says."""
    decision = routed(said(UNCLEAR), ranked(when_unsure=policy))
    assert (order(decision), decision.route.score) == (expected, 0)


def test_without_a_classifier_nothing_is_known() -> None:
    """All requests go where the policy says."""
    targets = alias(Strategy.COMPLEXITY, candidate("a"), candidate("b"), candidate("c"))
    assert order(routed(said(HARD), targets)) == "bca"


def test_a_target_that_cannot_serve_gives_way_to_a_stronger_one() -> None:
    """And only where there is none to a weaker one."""
    targets = ranked(candidate("a", window=9), candidate("b"), candidate("c"))
    assert order(routed(said(EASY), targets)) == "bc"
    assert order(routed(said(HARD), targets)) == "cb"
    targets = ranked(candidate("a"), candidate("b"), candidate("c", window=9))
    assert order(routed(said(HARD), targets)) == "ba"


def test_a_budget_moves_the_cuts() -> None:
    """With what the weakest costs nothing reaches the strongest; with enough all may."""
    targets = candidate("a", usd=0.1), candidate("b", usd=1), candidate("c", usd=10)
    poor = routed(said(HARD), ranked(*targets, usd_per_1000=Decimal("0.01")))
    rich = routed(said(EASY), ranked(*targets, usd_per_1000=Decimal(1_000)))
    assert (order(poor)[0], order(rich)[0]) == ("a", "c")


def test_a_budget_counts_what_requests_usually_cost() -> None:
    """The usual lengths of the alias count, not those of the request that happens to come first."""
    targets = candidate("a", usd=0.1), candidate("b", usd=10)
    observed = Observed()
    for model in ("a", "b"):
        observed.take_result(ended(model, input_tokens=10, output_tokens=10))
    budget = ranked(*targets, usd_per_1000=Decimal("0.5"))
    assert order(routed(said(EASY), budget, observed))[0] == "b"
    assert order(routed(said(EASY), budget))[0] == "a"


# --- conversations and circuits -------------------------------------------------------------------


def held(strategy: Strategy, where: str, *, tokens: int = 1_900, **said_: object) -> Routed:
    """Where a conversation goes that is at a target, of an alias that would like ``a`` best."""
    targets = alias(
        strategy,
        candidate("a", usd=1, cached_usd=0.1),
        candidate("b", usd=1, cached_usd=0.1),
        candidate("c", usd=5, cached_usd=5),
        **said_,
    )
    observed = timed(Observed(), a=100, b=500, c=900)
    request = asked(conversation_id="c")
    key = routed(request, targets).route.conversation
    observed.hold(key, Conversation(target=f"p/{where}", tokens=tokens, at_ms=T0))
    return routed(request, targets, observed)


def test_a_conversation_stays_while_its_prompt_cache_is_worth_more() -> None:
    """The reason says what the change would cost, and what it would have been for."""
    decision = held(Strategy.FASTEST, "b")
    assert order(decision) == "bac"
    assert decision.route.reason == (
        "the conversation stays: a change to p/a (duration 100 ms; next 500 ms) costs $0.001710 "
        "more without its prompt cache"
    )


@pytest.mark.parametrize(
    ("where", "tokens", "said_"),
    [
        pytest.param("a", 1_900, {}, id="it_is_there"),
        pytest.param("b", 100, {}, id="too_short_for_a_prompt_cache"),
        pytest.param("c", 1_900, {}, id="a_change_saves_more"),
        pytest.param("gone", 1_900, {}, id="its_target_is_gone"),
        pytest.param("b", 1_900, {"sticky": False}, id="not_wanted"),
    ],
)
def test_a_conversation_changes_where_that_costs_nothing(
    where: str, tokens: int, said_: dict[str, object]
) -> None:
    """It goes where the strategy says."""
    assert order(held(Strategy.FASTEST, where, tokens=tokens, **said_))[0] == "a"


def test_a_conversation_may_rise_but_not_fall_while_its_prompt_is_cached() -> None:
    """A stronger target takes over at once, a weaker one once the provider has forgotten."""
    targets, observed = ranked(), Observed()
    easy, hard = said(EASY, conversation_id="c"), said(HARD, conversation_id="c")
    remember(observed, easy, routed(easy, targets, observed), now_ms=T0)
    risen = routed(hard, targets, observed, T0 + 1)
    assert order(risen) == "cba"
    remember(observed, hard, risen, now_ms=T0 + 1)
    stays = routed(easy, targets, observed, T0 + 2)
    assert order(stays) == "cba"
    assert stays.route.reason.startswith("the conversation stays: p/a is weaker (easy: score")
    assert stays.route.tier == "easy"
    assert order(routed(easy, targets, observed, T0 + PROMPT_CACHE_IDLE_MS + 2)) == "abc"


@pytest.mark.parametrize(("where", "expected"), [("b", "bc"), ("c", "cba")])
def test_a_cascade_goes_on_where_it_rose_to(where: str, expected: str) -> None:
    """And goes up from there, never down; the strongest one is not judged."""
    decision = held(Strategy.CASCADE, where)
    assert (order(decision), decision.route.is_cascade) == (expected, where != "c")


@pytest.mark.parametrize("strategy", [each for each in Strategy if each is not Strategy.TIER])
def test_open_circuits_come_last_where_the_strategy_observes(strategy: Strategy) -> None:
    """The others are functions of request and configuration; the model caller skips theirs."""
    observed = Observed()
    targets = alias(strategy, candidate("a"), candidate("b"), sticky=False)
    first = order(routed(asked(), targets, observed))[0]
    health = ProviderHealth(
        provider="p", model=first, state=CircuitState.OPEN.value, at=T0, until=T0 + 5_000
    )
    observed.take_health(health)
    decision = routed(asked(), targets, observed)
    observes = strategy not in {Strategy.FIXED, Strategy.WEIGHTED}
    assert (order(decision)[0] != first) is observes
    assert decision.route.reason.endswith(f"; circuit open: p/{first}") is observes
    assert order(routed(asked(), targets, observed, T0 + 5_000))[0] == first


def test_where_all_circuits_are_open_the_order_stays() -> None:
    """The model caller decides then."""
    observed = Observed()
    for model in "ab":
        observed.take_health(
            ProviderHealth(provider="p", model=model, state="open", at=T0, until=T0 + 9)
        )
    decision = routed(asked(), alias(Strategy.CHEAPEST, candidate("a"), candidate("b")), observed)
    assert order(decision) == "ab"
    assert "circuit" not in decision.route.reason


# --- which conversation ---------------------------------------------------------------------------


def conversation(request: InferenceRequested) -> str:
    """Key of the conversation that a request is routed in."""
    return routed(request, alias(Strategy.CHEAPEST, candidate("a"))).route.conversation


def chat(*messages: tuple[str, object], **more: Any) -> InferenceRequested:
    """A chat of these messages."""
    listed = [{"role": role, "content": content} for role, content in messages]
    return asked(body=msgspec.json.encode({"messages": listed}), **more)


OPENING = (("system", "Be kind."), ("user", "Hello"))


def test_a_chat_is_known_by_its_beginning() -> None:
    """Later turns do not change the key; another beginning, tenant or alias does."""
    first = conversation(chat(*OPENING))
    later = conversation(chat(*OPENING, ("assistant", "Hi"), ("user", "More")))
    others = {
        conversation(chat(("system", "Be kind."), ("user", "Hallo"))),
        conversation(chat(("system", "Be"), ("user", "Hello"))),
        conversation(chat(("user", "Hello"))),
        conversation(chat(*OPENING, tenant="acme")),
        conversation(chat(*OPENING, model="n")),
        conversation(chat(*OPENING, conversation_id="c")),
    }
    assert first == later
    assert len(others | {first}) == 7
    assert conversation(chat(*OPENING, conversation_id="c")) == conversation(
        asked(conversation_id="c")
    )


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(asked(), id="no_messages"),
        pytest.param(chat(("system", "Be kind.")), id="no_turn_yet"),
        pytest.param(asked(body=b"\xff{"), id="no_json"),
        pytest.param(asked(operation="embeddings", body=b'{"input":"x"}'), id="no_chat"),
    ],
)
def test_some_requests_belong_to_no_conversation(request_: InferenceRequested) -> None:
    """Nothing is held for them."""
    assert conversation(request_) == ""


@given(st.lists(st.sampled_from("abc"), max_size=6))
def test_a_conversation_is_found_again_from_results_alone(models: list[str]) -> None:
    """As after a restart: routes and calls of its requests say where it was last."""
    observed = Observed()
    for number, model in enumerate(models):
        route = Route(alias="m", strategy="x", reason="", config_version="", conversation="c")
        observed.take_result(ended(model, route=route, finished_at=T0 + number))
    found = observed.conversation("c", T0)
    assert (found.target if found else "") == (f"p/{models[-1]}" if models else "")
