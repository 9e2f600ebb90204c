"""The strategy ``cheapest``: by expected cost, prompt caches included."""

from services.shared.domain.routing.gates import Candidate
from services.shared.domain.routing.strategies.expected_cost import (
    cached_tokens,
    expected_cost_nanousd,
    price_of,
)
from services.shared.domain.routing.strategies.strategy import Choice, Situation
from services.shared.domain.money import NANOUSD_PER_USD


def by_cost(situation: Situation) -> Choice:
    """Targets by expected cost; equal ones as configured."""
    costs = {candidate.name: cost_at(situation, candidate) for candidate in situation.passed}
    ordered = sorted(situation.passed, key=lambda candidate: costs[candidate.name])
    first = ordered[0].name
    learnt = situation.observed.output_tokens(situation.request.model, first)
    answer = "answers not seen yet" if learnt is None else f"answers of {learnt:.0f} tokens"
    reason = f"expected cost {dollars(costs[first])}, {answer}"
    if len(ordered) > 1:
        reason += f"; next {dollars(costs[ordered[1].name])}"
    return Choice(ordered=ordered, reason=reason)


def cost_at(situation: Situation, candidate: Candidate) -> int:
    """Expected cost of the situation's request at a target, nano-USD."""
    request, observed = situation.request, situation.observed
    held = None
    if situation.conversation:
        held = observed.conversation(situation.conversation, situation.now_ms)
    return expected_cost_nanousd(
        request,
        price_of(request, candidate),
        learnt=observed.output_tokens(request.model, candidate.name),
        cached_tokens=cached_tokens(request, candidate, held),
    )


def dollars(nanousd: int) -> str:
    """An amount for people."""
    return f"${nanousd / NANOUSD_PER_USD:.6f}"
