"""One tenant's controller: how sure a semantic answer has to be, as far as its evidence goes."""

from collections.abc import Sequence

from services.cache_lookup.verified.bound import Bets, Tally, holds
from services.shared.domain.verified import LEAST_SCORE

THRESHOLDS: Sequence[float] = tuple(number / 100 for number in range(round(100 * LEAST_SCORE), 100))
"""Scores from which on answers may be served, ascending."""

NOTHING = float("inf")
LATER_SHARE = 0.1
"""Least share of served hits that are asked again."""

_STEP = 0.95

MOST_WEIGHT = 1 / LATER_SHARE
MOST_VETOES = 10_000


class Controller:
    """Holds P(wrong and served) of one tenant below a bound; starts with nothing served.

    A threshold is served from while two things are certain: requests like those of before would be
    answered wrongly less often than the bound allows, which is learned before anything is served;
    and fewer answers than it allows of all requests were served wrongly, whatever these were like,
    which is learned by asking again. As many hits are asked again as it takes to be certain still
    when one more is found wrong.

    Evidence is that of requests whose candidate was compared with a fresh answer, and of those
    that had no candidate: these are right by nature. A stage of the pipeline feeds it in log order.

    Attributes:
        threshold: Score from which on answers are served now; ``NOTHING`` = none is.
        requests: Requests that the evidence stands for.
        tally: The evidence, for what is told of it.
        share: Share of served hits that are asked again now; it only falls.
        asked_again: Served hits that were asked again.
        found_wrong: Number of those that were wrong.
        hits: Served hits that they stand for.
    """

    def __init__(self, *, most_wrong: float) -> None:
        """Know nothing, serve nothing.

        Args:
            most_wrong: Bound on P(wrong and served), a share of all requests that are compared.
        """
        self.threshold = NOTHING
        self.requests = 0.0
        self.tally = Tally(THRESHOLDS)
        self.share = 1.0
        self.asked_again = 0
        self.found_wrong = 0
        self.hits = 0.0
        self._most_wrong = most_wrong
        self._bets = Bets(THRESHOLDS, most_wrong=most_wrong)
        self._vetoes: dict[str, float] = {}

    @property
    def vetoed(self) -> int:
        """Entries with a veto."""
        return len(self._vetoes)

    @property
    def upper_bound(self) -> float:
        """P(wrong and served) at the threshold of now is not above this; 0 = nothing is served."""
        if self.threshold == NOTHING:
            return 0.0
        return self.tally.upper_bound(THRESHOLDS.index(self.threshold))

    def serves(self, entry_id: str, score: float) -> bool:
        """Whether an entry's answer is served.

        Args:
            entry_id: The entry.
            score: Of the entry for the question, 0..1.
        """
        return score >= self.threshold and score > self._vetoes.get(entry_id, -1.0)

    def veto_of(self, entry_id: str) -> float | None:
        """Score up to which an entry's answer is not served; None = it has no veto."""
        return self._vetoes.get(entry_id)

    def saw_none(self, count: int) -> None:
        """Take requests that had no candidate, or one that was vetoed anyway.

        Args:
            count: How many.
        """
        if count > 0:
            self._add(1.0, None, count=count)

    def judged(
        self, entry_id: str, *, score: float, is_right: bool, was_served: bool, weight: float
    ) -> None:
        """Take a request whose candidate was compared with a fresh answer.

        Args:
            entry_id: The candidate.
            score: Its score, 0..1.
            is_right: Whether both answers say the same.
            was_served: Whether its answer had been served.
            weight: Requests that this one stands for.
        """
        weight = min(max(weight, 1.0), MOST_WEIGHT)
        wrong_at = None if is_right or score <= self._vetoes.get(entry_id, -1.0) else score
        if was_served:
            self.share = max(LATER_SHARE, min(self.share, 1 / weight))
            self.asked_again += 1
            self.hits += weight
            self.found_wrong += not is_right
        self._add(weight, wrong_at)
        if was_served and not is_right:
            self._veto(entry_id, score)

    def _add(self, weight: float, wrong_at: float | None, *, count: int = 1) -> None:
        heaviest = 1 / self.share if self.threshold < NOTHING else 1.0
        self._bets.add(weight=weight, heaviest=heaviest, wrong_at=wrong_at, count=count)
        self.tally.add(weight=weight, heaviest=heaviest, wrong_at=wrong_at, count=count)
        self.requests += weight * count
        place = self._bets.lowest_certified
        is_sure = place < len(THRESHOLDS) and self._holds(self.share, found=self.found_wrong)
        self.threshold = THRESHOLDS[place] if is_sure else NOTHING
        while self._may_ask_less():
            self.share = max(LATER_SHARE, self.share * _STEP)

    def _may_ask_less(self) -> bool:
        """Whether one more wrong hit may be found, and serving goes on, though fewer are sought."""
        less = max(LATER_SHARE, self.share * _STEP)
        return less < self.share and self._holds(less, found=self.found_wrong + 1)

    def _holds(self, share: float, *, found: int) -> bool:
        """Whether one answer more may be served, though it may be wrong."""
        allowed = self._most_wrong * self.requests - 1
        return allowed > 0 and holds(found, share=share, allowed=allowed)

    def _veto(self, entry_id: str, score: float) -> None:
        score = max(score, self._vetoes.pop(entry_id, -1.0))
        self._vetoes[entry_id] = score
        if len(self._vetoes) > MOST_VETOES:
            del self._vetoes[next(iter(self._vetoes))]
