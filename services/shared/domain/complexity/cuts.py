"""Cuts: which scores belong to which tier, so that each tier gets its share of the traffic.

A score is only a rank, so no fixed limit means anything for traffic it was not made for. The limits
lie at quantiles of the alias's own recent scores, and begin at those of the shipped reference
scores, which own traffic outweighs after some hundred requests. Time plays no part: what is recent
is counted in requests, and equal requests in equal order give equal cuts.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate

import msgspec

from services.shared.domain.configuration_routing import WhenUnsure

BINS = 200
"""Bins of the histogram; a score lies in 0..1, so a cut is never off by more than 1/200."""

WINDOW = 2_000
"""A score counts half after ``0.69 * WINDOW`` further ones."""

PRIOR_WEIGHT = 200.0
"""Requests that the reference scores count as, at the beginning."""

_RESCALE_AT = 1e9
_GROWTH = 1 / (1 - 1 / WINDOW)
_BISECTIONS = 50


class RecentScores:
    """The recent scores of one alias: a decaying histogram of fixed size.

    Attributes:
        count: Scores added since it was made.
    """

    def __init__(self, reference: Sequence[float] = ()) -> None:
        """Begin with reference scores.

        Args:
            reference: Quantiles of the scores of the reference prompts at equal steps; empty = all
                scores are as likely.
        """
        self.count = 0
        self._bins = [0.0] * BINS
        self._unsure = 0.0
        self._weight = 1.0
        values = reference or [(index + 0.5) / BINS for index in range(BINS)]
        for value in values:
            self._bins[_bin_of(value)] += PRIOR_WEIGHT / len(values)

    def add(self, value: float, *, is_unsure: bool) -> None:
        """Count one request.

        Args:
            value: Its score.
            is_unsure: Whether the classifier found nothing to go by: then the score says nothing.
        """
        self.count += 1
        self._weight *= _GROWTH  # a growing weight of the new is a decaying one of the old
        if is_unsure:
            self._unsure += self._weight
        else:
            self._bins[_bin_of(value)] += self._weight
        if self._weight > _RESCALE_AT:
            self._rescale()

    @property
    def unsure_share(self) -> float:
        """Share of the recent requests in which the classifier found nothing, ratio 0..1."""
        return self._unsure / (self._unsure + sum(self._bins))

    def cut_above(self, share: float) -> float:
        """The score that a share of the recent sure requests reach.

        Args:
            share: Ratio 0..1.
        """
        left = share * sum(self._bins)
        for index in range(BINS - 1, -1, -1):
            held = self._bins[index]
            if held and left <= held:
                return (index + 1 - left / held) / BINS
            left -= held
        return 0.0

    def _rescale(self) -> None:
        self._bins = [held / self._weight for held in self._bins]
        self._unsure /= self._weight
        self._weight = 1.0


class Cuts(msgspec.Struct, frozen=True):
    """The limits between tiers.

    Attributes:
        limits: Least score of each tier but the first, from the weakest to the strongest; a limit
            above 1 is reached by nothing.
        shares: Share of the traffic that each tier was meant to get.
        requests: Own requests that they are based on, beside the reference.
    """

    limits: tuple[float, ...]
    shares: tuple[float, ...]
    requests: int = 0

    @classmethod
    def of(
        cls,
        recent: RecentScores,
        shares: Sequence[float],
        *,
        when_unsure: WhenUnsure = WhenUnsure.MIDDLE,
    ) -> "Cuts":
        """Lay the limits so that each tier gets its share.

        Requests in which the classifier finds nothing go where the policy says, and count towards
        that tier's share; what they take too much of is taken from all others alike.

        Args:
            recent: Recent scores of the alias.
            shares: Share of each tier, from the weakest to the strongest; they add up to 1.
            when_unsure: Where requests go in which the classifier finds nothing.
        """
        sure = list(shares)
        unsure_tier = _unsure_index(when_unsure, len(sure))
        sure[unsure_tier] = max(0.0, sure[unsure_tier] - recent.unsure_share)
        total = sum(sure)
        sure = [share / total for share in sure] if total else list(shares)
        above = list(accumulate(reversed(sure)))[:-1]
        limits = tuple(recent.cut_above(share) if share > 0 else 2.0 for share in reversed(above))
        return cls(limits=limits, shares=tuple(shares), requests=recent.count)


class Tier(msgspec.Struct, frozen=True):
    """A tier.

    Attributes:
        index: Position among the targets, from the weakest, 0, to the strongest.
        name: ``easy``, ``medium`` (``medium-1`` .. where there are several), ``hard``.
        reason: Why, for people: the score and the limits used.
    """

    index: int
    name: str
    reason: str


def tier_of(
    score: float, *, is_unsure: bool, cuts: Cuts, when_unsure: WhenUnsure, targets: int
) -> Tier:
    """The tier of a request.

    Args:
        score: How hard it looks, 0..1.
        is_unsure: Whether the classifier found nothing to go by.
        cuts: Limits for as many tiers as there are targets.
        when_unsure: Where such a request goes.
        targets: Number of targets.
    """
    shown = "/".join(f"{limit:.3f}" for limit in cuts.limits)
    if is_unsure:
        index = _unsure_index(when_unsure, targets)
        return Tier(index, tier_name(index, targets), f"no cue found, so {when_unsure.value}")
    index = sum(score >= limit for limit in cuts.limits)
    name = tier_name(index, targets)
    return Tier(index, name, f"score {score:.3f}, cuts {shown}" if shown else f"score {score:.3f}")


def tier_name(index: int, targets: int) -> str:
    """Name of a tier, from its position among the targets."""
    if index == 0:
        return "easy"
    if index == targets - 1:
        return "hard"
    return "medium" if targets == 3 else f"medium-{index}"


def shares_of(strong_share: float, targets: int) -> tuple[float, ...]:
    """Share of each tier where the strongest is to get one: they form a geometric series.

    Of three tiers with a fifth for the strongest the others get .48 and .32.

    Args:
        strong_share: Share of the strongest, ratio 0..1.
        targets: Number of targets.
    """
    if targets == 1:
        return (1.0,)

    def is_enough(shares: Sequence[float]) -> bool:
        return shares[-1] >= strong_share

    return _bisected(targets, is_enough)


def shares_within(nanousd_per_request: float, costs: Sequence[float]) -> tuple[float, ...]:
    """Shares that spend as much as a budget allows, and no more where that is possible.

    Args:
        nanousd_per_request: The budget.
        costs: Expected cost of a request at each target in nano-USD, from the weakest to the
            strongest.
    """

    def is_over(shares: Sequence[float]) -> bool:
        spent = sum(share * cost for share, cost in zip(shares, costs, strict=True))
        return spent > nanousd_per_request

    return _bisected(len(costs), is_over)


def _bisected(targets: int, is_beyond: Callable[[Sequence[float]], bool]) -> tuple[float, ...]:
    """The series that leans to the strong end as far as possible without being beyond."""
    low, high = 0.0, 1.0
    if not is_beyond(_series(high, targets)):
        return _series(high, targets)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if is_beyond(_series(middle, targets)):
            high = middle
        else:
            low = middle
    return _series(low, targets)


def _series(lean: float, targets: int) -> tuple[float, ...]:
    """A geometric series that adds up to 1: all at the weak end at 0, at the strong end at 1."""
    terms = [lean**index * (1 - lean) ** (targets - 1 - index) for index in range(targets)]
    total = sum(terms)
    return tuple(term / total for term in terms)


def _unsure_index(when_unsure: WhenUnsure, targets: int) -> int:
    """Where unsure requests go; the middle of an even number is the stronger one: never cheap."""
    if when_unsure is WhenUnsure.WEAK:
        return 0
    return targets // 2 if when_unsure is WhenUnsure.MIDDLE else targets - 1


def _bin_of(value: float) -> int:
    return min(BINS - 1, max(0, int(value * BINS)))
