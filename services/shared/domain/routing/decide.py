"""Which targets serve a request, in which order, or why none does.

Gates come first: who asks, what for, and whether each target can serve it. Then the alias's
strategy puts the targets that passed into order. Under ``fixed``, ``tier`` and ``weighted`` nothing
but the request and the configuration counts, so a replayed request is routed the same way; under
the others what was observed counts as well, and the reason names the figures.
"""

from collections.abc import Sequence

import msgspec

from services.shared.domain.complexity.classifier import Classifier
from services.shared.domain.configuration import Model
from services.shared.domain.configuration_routing import Strategy
from services.shared.domain.errors import PublicError
from services.shared.domain.events import InferenceRequested, Route, Target
from services.shared.domain.name_patterns import matches_any
from services.shared.domain.routing.conversation import conversation_key
from services.shared.domain.routing.gates import Candidate, gate_that_stops, refusal, shown
from services.shared.domain.routing.observed import Conversation, Observed
from services.shared.domain.routing.settling import settled
from services.shared.domain.routing.strategies.expected_cost import (
    cost_at,
    expected_output_tokens,
    price_of,
)
from services.shared.domain.routing.strategies.strategy import Choice, Situation
from services.shared.domain.routing.strategies.table import OBSERVING, ORDERINGS


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen until now.

    Attributes:
        observed: Of targets and conversations.
        now_ms: Now, unix ms.
    """

    observed: Observed
    now_ms: float


NOTHING_SEEN = Seen(observed=Observed(), now_ms=0.0)
"""For aliases whose strategies look at the request and the configuration only; never changed."""


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A model as callers see it.

    Attributes:
        model: The alias as configured.
        candidates: Its targets, in the configured order.
        classifier: Its classifier; None unless its strategy is ``complexity``.
    """

    model: Model
    candidates: tuple[Candidate, ...]
    classifier: Classifier | None = None


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration lets a caller do.

    Attributes:
        models: Aliases that it may ask for, patterns allowed; empty = all.
        disabled: Whether it is refused.
    """

    models: tuple[str, ...] = ()
    disabled: bool = False


class Routed(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes.

    Attributes:
        route: The decision.
        lane: Requests of one lane may share a batch: provider/model/operation.
        is_trial: Whether the first target leads only to be measured.
    """

    route: Route
    lane: str
    is_trial: bool = False


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """No target serves a request.

    Attributes:
        error: Why, as the caller sees it.
    """

    error: PublicError


def route_request(
    request: InferenceRequested,
    *,
    caller: Caller | None,
    alias: Alias | None,
    config_version: str,
    seen: Seen = NOTHING_SEEN,
) -> Routed | Refused:
    """Choose the targets of a request.

    Args:
        request: The request.
        caller: What its key, or being a Kafka producer, allows; None = nobody knows it.
        alias: What it asks for; None = there is no such alias.
        config_version: Version of the configuration, for the record.
        seen: What was seen of the targets, for strategies that look at it.
    """
    if caller is None or caller.disabled:
        return _refused(
            "invalid_api_key",
            "The API key of this request is unknown or disabled."
            if request.key_id
            else "Requests from Kafka producers are not served here. Set kafka_producers.enabled.",
        )
    if alias is None or (caller.models and not matches_any(request.model, caller.models)):
        return _refused(
            "model_not_found",
            f"The model '{shown(request.model)}' does not exist or you do not have access to it.",
            param="model",
        )
    operations = alias.model.operations
    if operations and request.operation not in operations:
        return _refused(
            "unsupported_value",
            f"The model '{shown(request.model)}' does not serve {request.operation}; "
            f"it serves {', '.join(operations)}.",
            param="model",
        )
    return _choose(request, alias, config_version, seen)


def _choose(
    request: InferenceRequested, alias: Alias, config_version: str, seen: Seen
) -> Routed | Refused:
    gates = [(candidate, gate_that_stops(request, candidate)) for candidate in alias.candidates]
    passed = [candidate for candidate, gate in gates if gate is None]
    stopped = [(candidate, gate) for candidate, gate in gates if gate is not None]
    if not passed:
        return Refused(error=refusal(request, stopped))
    situation = situation_of(request, alias, passed, seen)
    choice = chosen(situation)
    reason = choice.reason
    if stopped:
        skipped = ", ".join(
            f"{candidate.name} ({gate.name.lower()})" for candidate, gate in stopped
        )
        reason = f"{reason}; skipped {skipped}"
    first = choice.ordered[0]
    return Routed(
        route=Route(
            alias=request.model,
            strategy=alias.model.strategy.value,
            reason=reason,
            config_version=config_version,
            expected_cost_nanousd=cost_at(situation, first),
            targets=tuple(_target(request, candidate) for candidate in choice.ordered),
            score=choice.score,
            tier=choice.tier,
            is_cascade=choice.is_cascade,
            conversation=situation.conversation,
        ),
        lane=f"{first.name}/{request.operation}",
        is_trial=choice.is_trial,
    )


def situation_of(
    request: InferenceRequested, alias: Alias, passed: Sequence[Candidate], seen: Seen
) -> Situation:
    """What the strategy of an alias decides on.

    Args:
        request: The request.
        alias: What it asks for.
        passed: The alias's targets that passed the gates.
        seen: What was seen of the targets.
    """
    model = alias.model
    holds = model.sticky and model.strategy in OBSERVING
    return Situation(
        request=request,
        model=model,
        candidates=alias.candidates,
        passed=passed,
        classifier=alias.classifier,
        observed=seen.observed,
        now_ms=seen.now_ms,
        conversation=conversation_key(request) if holds else "",
    )


def chosen(situation: Situation) -> Choice:
    """The order that the strategy of an alias makes, and what becomes of it."""
    strategy = situation.model.strategy
    choice = ORDERINGS[strategy](situation)
    return settled(situation, choice) if strategy in OBSERVING else choice


def _target(request: InferenceRequested, candidate: Candidate) -> Target:
    price = price_of(request, candidate)
    return Target(provider=candidate.target.provider, model=candidate.model, price=price)


def _refused(code: str, message: str, *, param: str = "") -> Refused:
    return Refused(error=PublicError(code=code, message=message, param=param))


def remember(
    observed: Observed, request: InferenceRequested, routed: Routed, *, now_ms: float
) -> None:
    """Note what was decided: tokens under way, the leading target, where the conversation is.

    Args:
        observed: Where to note it.
        request: The request.
        routed: What was decided.
        now_ms: Now, unix ms.
    """
    route = routed.route
    first = f"{route.targets[0].provider}/{route.targets[0].model}"
    learnt = observed.output_tokens(request.model, first)
    tokens = request.estimated_input_tokens + expected_output_tokens(request, learnt)
    observed.sent(request.request_id, first, tokens, now_ms)
    if route.strategy == Strategy.FASTEST and not routed.is_trial:
        observed.lead(request.model, first)
    if route.conversation:
        here = Conversation(target=first, tokens=request.estimated_input_tokens, at_ms=now_ms)
        observed.hold(route.conversation, here)
