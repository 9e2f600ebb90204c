"""Why a request goes where it goes: the decision's own figures, for people."""

import msgspec

from services.shared.domain.configuration_routing import Strategy
from services.shared.domain.events import InferenceRequested
from services.shared.domain.routing.decide import (
    Alias,
    Caller,
    Refused,
    Seen,
    route_request,
    situation_of,
)
from services.shared.domain.routing.gates import Candidate, gates_that_stop
from services.shared.domain.routing.strategies.complexity import cuts_of, scored_by
from services.shared.domain.routing.strategies.expected_cost import cost_at
from services.shared.domain.routing.strategies.strategy import Situation


class TargetExplained(msgspec.Struct, frozen=True, kw_only=True):
    """One target of the alias.

    Attributes:
        name: Provider and model.
        position: Place in the order, from 1; 0 = it cannot serve the request.
        stopped_by: Gates that it does not pass.
        expected_cost_nanousd: Expected cost there, nano-USD.
        output_tokens: Mean length of answers that is expected; null = none was seen.
        first_output_ms: Mean time to the first output of streams; null = none was seen.
        whole_ms: Mean time of whole answers; null = none was seen.
        is_open: Whether its circuit is open.
    """

    name: str
    position: int
    stopped_by: tuple[str, ...]
    expected_cost_nanousd: int
    output_tokens: float | None = None
    first_output_ms: float | None = None
    whole_ms: float | None = None
    is_open: bool = False


class Hardness(msgspec.Struct, frozen=True, kw_only=True):
    """What the classifier says of a request.

    Attributes:
        score: Its score, ratio 0..1.
        is_unsure: Whether nothing was found to go by.
        cues: What counted most.
        limits: Least score of each tier but the first.
        shares: Share of the traffic that each tier is to get.
        own_requests: Own requests that the limits are based on, beside the reference.
    """

    score: float
    is_unsure: bool
    cues: tuple[str, ...]
    limits: tuple[float, ...]
    shares: tuple[float, ...]
    own_requests: int


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request goes where it goes.

    Attributes:
        model: Model alias asked for.
        operation: What is asked.
        input_tokens: Estimated input tokens.
        strategy: The alias's strategy; empty = there is no such alias.
        decision: Why the first target leads, or why the request is refused.
        is_refused: Whether it is refused.
        tier: Part of the traffic that it was counted to; empty = not asked.
        is_cascade: Whether the answer is judged, and the next target asked if it is doubtful.
        conversation: Key of its conversation; empty = none.
        hardness: What the classifier says; null unless the strategy asks it.
        targets: The alias's targets, as configured.
        config_version: Version of the configuration.
    """

    model: str
    operation: str
    input_tokens: int
    strategy: str
    decision: str
    is_refused: bool
    tier: str = ""
    is_cascade: bool = False
    conversation: str = ""
    hardness: Hardness | None = None
    targets: tuple[TargetExplained, ...] = ()
    config_version: str = ""


def explained(
    request: InferenceRequested,
    *,
    caller: Caller | None,
    alias: Alias | None,
    config_version: str,
    seen: Seen,
) -> Explanation:
    """Route a request, and say why; the arguments are those of ``route_request``."""
    decision = route_request(
        request, caller=caller, alias=alias, config_version=config_version, seen=seen
    )
    is_refused = isinstance(decision, Refused)
    route = None if isinstance(decision, Refused) else decision.route
    common = Explanation(
        model=request.model,
        operation=request.operation,
        input_tokens=request.estimated_input_tokens,
        strategy="" if alias is None else alias.model.strategy.value,
        decision=decision.error.message if isinstance(decision, Refused) else decision.route.reason,
        is_refused=is_refused,
        config_version=config_version,
    )
    if alias is None:
        return common
    situation = situation_of(request, alias, alias.candidates, seen)
    order = [] if route is None else [f"{each.provider}/{each.model}" for each in route.targets]
    return msgspec.structs.replace(
        common,
        tier="" if route is None else route.tier,
        is_cascade=route is not None and route.is_cascade,
        conversation=situation.conversation,
        hardness=_hardness(situation) if alias.model.strategy is Strategy.COMPLEXITY else None,
        targets=tuple(_target(situation, each, order) for each in alias.candidates),
    )


def _hardness(situation: Situation) -> Hardness:
    scored, cuts = scored_by(situation), cuts_of(situation)
    return Hardness(
        score=scored.value,
        is_unsure=scored.is_unsure,
        cues=scored.cues,
        limits=cuts.limits,
        shares=cuts.shares,
        own_requests=cuts.requests,
    )


def _target(situation: Situation, candidate: Candidate, order: list[str]) -> TargetExplained:
    request, observed, name = situation.request, situation.observed, candidate.name
    times = observed.times(name)
    return TargetExplained(
        name=name,
        position=order.index(name) + 1 if name in order else 0,
        stopped_by=tuple(gate.name.lower() for gate in gates_that_stop(request, candidate)),
        expected_cost_nanousd=cost_at(situation, candidate),
        output_tokens=observed.output_tokens(request.model, name),
        first_output_ms=None if times is None else times.first_output.known,
        whole_ms=None if times is None else times.whole.known,
        is_open=observed.is_open(name, situation.now_ms),
    )
