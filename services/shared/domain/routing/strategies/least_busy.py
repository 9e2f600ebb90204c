"""The strategy ``least_busy``: by the tokens under way."""

from services.shared.domain.routing.strategies.strategy import Choice, Situation


def by_tokens_under_way(situation: Situation) -> Choice:
    """Targets by the tokens sent to them and not answered yet, in proportion to their weights."""
    under_way = {
        candidate.name: situation.observed.tokens_under_way(candidate.name)
        for candidate in situation.passed
    }
    ordered = sorted(
        situation.passed,
        key=lambda candidate: (
            not candidate.target.weight,
            under_way[candidate.name] / max(1, candidate.target.weight),
        ),
    )
    reason = f"{under_way[ordered[0].name]} tokens under way"
    if len(ordered) > 1:
        reason += f"; next {under_way[ordered[1].name]}"
    return Choice(ordered=ordered, reason=reason)
