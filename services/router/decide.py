"""Which targets serve a request, in which order, or why none does.

Gates come first: who asks, what for, and whether each target can serve it. Then the alias's
strategy puts the targets that passed into order. Nothing but the request and the configuration
counts, so a replayed request is routed the same way.
"""

import hashlib
import math
from collections.abc import Callable, Sequence

import msgspec

from services.router.gates import Candidate, gate_that_stops, refusal, shown
from services.shared.domain.configuration import Model
from services.shared.domain.configuration_routing import Strategy
from services.shared.domain.errors import PublicError
from services.shared.domain.events import InferenceRequested, Operation, Route, Target
from services.shared.domain.money import Price, Usage, cost_nanousd
from services.shared.domain.name_patterns import matches_any

EXPECTED_OUTPUT_TOKENS = 256
"""Output tokens that a choice is expected to have, for the expected cost."""


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A model as callers see it.

    Attributes:
        model: The alias as configured.
        candidates: Its targets, in the configured order.
    """

    model: Model
    candidates: tuple[Candidate, ...]


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
    """

    route: Route
    lane: str


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
) -> Routed | Refused:
    """Choose the targets of a request.

    Args:
        request: The request.
        caller: What its key, or being a Kafka producer, allows; None = nobody knows it.
        alias: What it asks for; None = there is no such alias.
        config_version: Version of the configuration, for the record.
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
    return _choose(request, alias, config_version)


def _choose(request: InferenceRequested, alias: Alias, config_version: str) -> Routed | Refused:
    gates = [(candidate, gate_that_stops(request, candidate)) for candidate in alias.candidates]
    passed = [candidate for candidate, gate in gates if gate is None]
    stopped = [(candidate, gate) for candidate, gate in gates if gate is not None]
    if not passed:
        return Refused(error=refusal(request, stopped))
    ordered, reason = _ORDERINGS[alias.model.strategy](request, passed)
    if stopped:
        skipped = ", ".join(
            f"{candidate.name} ({gate.name.lower()})" for candidate, gate in stopped
        )
        reason = f"{reason}; skipped {skipped}"
    targets = tuple(_target(request, candidate) for candidate in ordered)
    return Routed(
        route=Route(
            alias=request.model,
            strategy=alias.model.strategy.value,
            reason=reason,
            config_version=config_version,
            expected_cost_nanousd=expected_cost_nanousd(request, targets[0].price),
            targets=targets,
        ),
        lane=f"{ordered[0].name}/{request.operation}",
    )


def expected_cost_nanousd(request: InferenceRequested, price: Price) -> int:
    """Expected cost of a request in nano-USD, before anything is known of its answer."""
    output_tokens = 0
    if request.operation != Operation.EMBEDDINGS:
        cap = request.max_output_tokens or EXPECTED_OUTPUT_TOKENS
        output_tokens = min(cap, EXPECTED_OUTPUT_TOKENS) * request.choice_count
    usage = Usage(input_tokens=request.estimated_input_tokens, output_tokens=output_tokens)
    return cost_nanousd(usage, price)


def _target(request: InferenceRequested, candidate: Candidate) -> Target:
    price = candidate.facts.price_for(request.estimated_input_tokens)
    return Target(provider=candidate.target.provider, model=candidate.model, price=price or Price())


def _as_listed(
    _request: InferenceRequested, passed: Sequence[Candidate]
) -> tuple[list[Candidate], str]:
    return list(passed), "first in order that can serve it"


def _by_tier(
    request: InferenceRequested, passed: Sequence[Candidate]
) -> tuple[list[Candidate], str]:
    """Targets that name the caller's tier, then those open to all."""
    ordered = sorted(passed, key=lambda candidate: not candidate.target.tiers)
    if ordered[0].target.tiers:
        return ordered, f"serves tier '{shown(request.tier)}'"
    return ordered, "serves every tier"


def _by_weight(
    request: InferenceRequested, passed: Sequence[Candidate]
) -> tuple[list[Candidate], str]:
    """Weighted rendezvous hashing.

    Shares are exact in the long run, a conversation stays where it is, the order in the file does
    not count, and a target that drops out moves only its own share.
    """
    if request.conversation_id:
        sticky, by = f"{request.tenant}\0{request.conversation_id}", "by conversation"
    else:
        sticky, by = request.request_id, "by request"
    weighted = [candidate for candidate in passed if candidate.target.weight]
    reserve = [candidate for candidate in passed if not candidate.target.weight]
    ordered = sorted(weighted, key=lambda c: (-_weighted_draw(sticky, c), c.name)) + reserve
    if not weighted:
        return ordered, "only a fallback can serve it"
    total = sum(candidate.target.weight for candidate in weighted)
    return ordered, f"weight {ordered[0].target.weight} of {total}, {by}"


def _weighted_draw(sticky: str, candidate: Candidate) -> float:
    """A number that is largest for each target with the probability of its share.

    It is ``weight / -ln(u)`` with ``u`` uniform in (0, 1), drawn from a hash (Schindelhauer and
    Schomaker, "Weighted distributed hash tables", 2005). 52 bits keep ``u`` below 1 as a float.
    """
    digest = hashlib.blake2b(f"{sticky}\0{candidate.name}".encode(), digest_size=8).digest()
    u = ((int.from_bytes(digest, "big") >> 12) + 0.5) / 2**52
    return candidate.target.weight / -math.log(u)


_ORDERINGS: dict[
    Strategy,
    Callable[[InferenceRequested, Sequence[Candidate]], tuple[list[Candidate], str]],
] = {Strategy.FIXED: _as_listed, Strategy.TIER: _by_tier, Strategy.WEIGHTED: _by_weight}
"""Each strategy: the targets that passed in order, and why the first one leads."""


def _refused(code: str, message: str, *, param: str = "") -> Refused:
    return Refused(error=PublicError(code=code, message=message, param=param))
