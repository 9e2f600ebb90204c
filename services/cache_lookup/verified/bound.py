"""An upper bound on a rate of errors that holds at every moment: a test by betting.

For each threshold somebody bets against "at least ``most_wrong`` of all requests would be answered
wrongly here". Each request multiplies his wealth by ``1 + stake * weight * (most_wrong - wrong)``,
where ``wrong`` is 1 when the candidate reached the threshold and was wrong, else 0. If the claim is
true, no factor is above 1 on average, so the wealth is a supermartingale, and it ever reaches
``1 / DOUBT`` with a probability of at most ``DOUBT`` (Ville's inequality). Reaching it refutes the
claim: the threshold is certified. Nobody has to say beforehand how long he looks.

A request that is judged only with a chance of ``1 / weight`` counts ``weight`` times when it is:
its expected factor is the same. What is never judged has no part, neither as a request nor as an
error.

Sources: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B
86, 2024); Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro, "Anytime-valid off-policy
inference for contextual bandits" (2024), for the weights. A stake may depend on the past but not on
the request; an average of several stakes is again a supermartingale. So is what is left when the
wealth is cut off at a ceiling, which only takes from it: old luck does not pay for new errors, and
a change for the worse shows after a few of them (as in a CUSUM chart). And who is ruined makes room
for another bettor with a part of the money that was set aside for him, so that a change for the
better shows as well.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence

DOUBT = 0.05
"""Probability that the bound of a tenant is ever broken, one-sided."""

STAKES = (0.15, 0.35, 0.7)
"""Stakes, as shares of the largest one that cannot lose more than there is."""

EASES = (0.7, 1.5, 4.0)
"""How much is forgiven by a wrong answer that is found: best for many of them, some, hardly any."""

_ENOUGH = math.log(1 / DOUBT)
CEILING = _ENOUGH + 1.0
"""Logarithm of the largest wealth that a stake keeps."""


_HALVINGS = 30

_RUIN = 5.0
"""How far a bettor's wealth may fall, as a logarithm, before another one begins in his place."""


def capital(bettor: int) -> float:
    """Logarithm of what a bettor begins with; that of all together is 1.

    The first has nearly all of it. Who follows has to bring more evidence, as the claim has had
    another chance to look false.

    Args:
        bettor: His number at one stake and threshold, from 0.
    """
    return math.log(0.9 if bettor == 0 else 0.1 / (bettor * (bettor + 1)))


class Bets:
    """The wealth of all stakes at all thresholds.

    Between errors each stake grows alike at all thresholds, so a request that is no error costs
    one addition a stake; an error costs one a stake and threshold that it counts at.
    """

    def __init__(self, thresholds: Sequence[float], *, most_wrong: float) -> None:
        """Begin with a wealth of 1 everywhere.

        Args:
            thresholds: Ascending.
            most_wrong: The rate that is to be refuted, ratio 0..1.
        """
        self._thresholds = thresholds
        self._most_wrong = most_wrong
        self._grown = [0.0] * len(STAKES)
        self._lead = [[capital(0)] * len(thresholds) for _ in STAKES]
        """Logarithm of the wealth less ``_grown``; cut off at the ceiling when it is next used."""

        self._bettor = [[0] * len(thresholds) for _ in STAKES]
        self._lowest = len(thresholds)

    @property
    def lowest_certified(self) -> int:
        """Place of the lowest certified threshold; their number when none is.

        The claims are tested in a fixed order, from the strictest down to the first that stands.
        An error at a threshold counts at all below it, so only the first true claim can be refuted
        falsely without another having been, and no correction for the number of thresholds is due
        (fixed-sequence testing; Maurer, Hothorn and Lehmacher, 1995).
        """
        return self._lowest

    def add(
        self, *, weight: float, heaviest: float, wrong_at: float | None, count: int = 1
    ) -> None:
        """Take requests of one kind.

        Args:
            weight: Requests that each of them stands for.
            heaviest: Largest weight that was possible before the requests were known.
            wrong_at: Score at which the candidate was wrong; None = it was not.
            count: How many there are.
        """
        for number, share in enumerate(STAKES):
            stake = share / (max(weight, heaviest) * (1 - self._most_wrong))
            gain = math.log1p(stake * weight * self._most_wrong)
            if wrong_at is not None:
                loss = math.log1p(-stake * weight * (1 - self._most_wrong))
                self._lose(number, count * (loss - gain), bisect_right(self._thresholds, wrong_at))
            self._grown[number] += count * gain
        if wrong_at is not None:
            self._lowest = len(self._thresholds)
        while self._lowest > 0 and self.wealth(self._lowest - 1) >= _ENOUGH:
            self._lowest -= 1

    def wealth(self, place: int) -> float:
        """Logarithm of the average wealth of the stakes at a threshold.

        Args:
            place: Of the threshold.
        """
        total = sum(
            math.exp(min(grown + lead[place], CEILING))
            for grown, lead in zip(self._grown, self._lead, strict=True)
        )
        return math.log(total / len(STAKES))

    def _lose(self, number: int, change: float, places: int) -> None:
        """Let a stake lose at the lowest thresholds; who is ruined makes room for the next."""
        lead, bettor, grown = self._lead[number], self._bettor[number], self._grown[number]
        for place in range(places):
            wealth = min(lead[place] + grown, CEILING) + change
            if wealth < capital(bettor[place]) - _RUIN:
                bettor[place] += 1
                wealth = capital(bettor[place])
            lead[place] = wealth - grown


def holds(found: int, *, share: float, allowed: float) -> bool:
    """Whether fewer wrong answers than are allowed were served, for certain but for ``DOUBT``.

    Each wrong answer that is served is found with a probability of ``share`` at least, whatever
    came before it, so ``exp(W * g - ease * found)`` of ``W`` wrong ones, with ``g = -log(1 - share
    * (1 - exp(-ease)))``, is no more than 1 on average, however and whenever they come: it says
    nothing of a rate that stays the same. So is an average over several ``ease``, and by Ville's
    inequality it never reaches ``1 / DOUBT``, with a probability of ``1 - DOUBT``. Were as many as
    are allowed served, it would be what is reckoned here, or more.

    Args:
        found: Wrong ones found.
        share: The least share of served answers that was ever asked again, ratio 0..1.
        allowed: Wrong ones that are allowed.
    """
    logs = [-allowed * math.log1p(share * math.expm1(-it)) - it * found for it in EASES]
    most = max(logs)
    return most + math.log(sum(math.exp(it - most) for it in logs) / len(EASES)) >= _ENOUGH


class Tally:
    """All evidence, counted by kind: tells the lowest rate that it refutes, of its whole time.

    There are few kinds: weights are 1 or one over a share.
    """

    def __init__(self, thresholds: Sequence[float]) -> None:
        """Know nothing.

        Args:
            thresholds: Ascending.
        """
        self._thresholds = thresholds
        self._counts: dict[tuple[float, float], list[int]] = {}
        """By weight and heaviest weight: all, then errors by the thresholds that they reach."""

    def add(
        self, *, weight: float, heaviest: float, wrong_at: float | None, count: int = 1
    ) -> None:
        """Take requests of one kind; see ``Bets.add``."""
        kind = (round(weight, 1), round(max(weight, heaviest), 1))
        counts = self._counts.get(kind)
        if counts is None:
            counts = self._counts[kind] = [0] * (len(self._thresholds) + 2)
        counts[0] += count
        if wrong_at is not None:
            counts[1 + bisect_right(self._thresholds, wrong_at)] += count

    def wrong(self, place: int) -> float:
        """Requests that would have been, or were, answered wrongly from a threshold on."""
        return sum(weight * sum(it[2 + place :]) for (weight, _), it in self._counts.items())

    def upper_bound(self, place: int) -> float:
        """The lowest rate that the evidence refutes for a threshold, ratio 0..1.

        Args:
            place: Of the threshold.
        """
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if self._refutes(middle, place) else (middle, high)
        return high

    def _refutes(self, rate: float, place: int) -> bool:
        total = 0.0
        for share in STAKES:
            wealth = capital(0)
            for (weight, heaviest), counts in self._counts.items():
                wrong = sum(counts[2 + place :])
                bet = share * weight / heaviest
                wealth += (counts[0] - wrong) * math.log1p(bet * rate / (1 - rate))
                wealth += wrong * math.log1p(-bet)
            total += math.exp(min(wealth, _ENOUGH + 2))
        return total >= len(STAKES) / DOUBT


def most_wrong_of(wrong: int, judged: int) -> float:
    """Exact one-sided upper bound on a share, at ``1 - DOUBT`` (Clopper and Pearson, 1934).

    Args:
        wrong: Wrong ones found.
        judged: Ones that were looked at.
    """
    if wrong >= judged:
        return 1.0
    low, high = wrong / judged, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(wrong, judged, middle) > DOUBT else (low, middle)
    return high


def _at_most(wrong: int, judged: int, rate: float) -> float:
    """Probability of at most so many wrong ones."""
    every = math.lgamma(judged + 1)
    return sum(
        math.exp(
            every
            - math.lgamma(it + 1)
            - math.lgamma(judged - it + 1)
            + it * math.log(rate)
            + (judged - it) * math.log1p(-rate)
        )
        for it in range(wrong + 1)
    )
