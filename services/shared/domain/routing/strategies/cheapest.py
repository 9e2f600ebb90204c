"""The strategy ``cheapest``: by expected cost, prompt caches included."""

from services.shared.domain.routing.strategies.expected_cost import cost_at, dollars
from services.shared.domain.routing.strategies.strategy import Choice, Situation


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
