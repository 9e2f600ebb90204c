"""The strategy ``complexity``: the harder a request looks, the stronger its target."""

from services.shared.domain.routing.gates import Candidate
from services.shared.domain.routing.strategies.strategy import Choice, Situation
from services.shared.domain.configuration_routing import WhenUnsure


def by_complexity(situation: Situation) -> Choice:
    """Where a request goes in which nothing is found to go by."""
    rank = rank_when_unsure(situation.model.complexity.when_unsure, len(situation.candidates))
    ordered = from_rank(situation, rank)
    return Choice(ordered=ordered, reason="nothing to go by", tier="unsure")


def rank_when_unsure(policy: WhenUnsure, targets: int) -> int:
    """Rank of the target of a request that shows nothing."""
    return {
        WhenUnsure.WEAK: 0,
        WhenUnsure.MIDDLE: targets // 2,
        WhenUnsure.STRONG: targets - 1,
    }[policy]


def from_rank(situation: Situation, rank: int) -> list[Candidate]:
    """The target at a position of the alias, then stronger ones, then weaker ones downwards."""
    passed = list(situation.passed)
    weaker = 0
    for candidate in situation.candidates[:rank]:
        if weaker < len(passed) and candidate is passed[weaker]:
            weaker += 1
    return passed[weaker:] + passed[:weaker][::-1]
