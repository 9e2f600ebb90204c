"""Who decides, tenant by tenant, whether a semantic answer is served, and asked again."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Protocol

from services.cache_lookup.verified.controller import LATER_SHARE, Controller
from services.shared.domain.events import CandidateJudged

MOST_TENANTS = 10_000
REMEMBERED_IDS = 20_000
EXTRA_CALLS = 0.1
"""Re-asks of a process, as a share of the requests that have a candidate."""

BURST = 300.0
"""Re-asks beyond it that new tenants may have between them; then they wait for what is not used."""


class Gatekeeper(Protocol):
    """Has the last word on semantic answers."""

    def serves(self, tenant: str, entry_id: str, score: float) -> bool:
        """Whether an entry's answer is served.

        Args:
            tenant: Whose request it is.
            entry_id: The entry.
            score: Of the entry for the question, 0..1.
        """
        ...

    def asks_again(self, tenant: str, draw: float) -> float | None:
        """Whether the model is asked in the background about a hit that is served.

        Args:
            tenant: Whose request it is.
            draw: Random number, 0..1.

        Returns:
            Number of requests that this one stands for; None = it is not asked again.
        """
        ...


class Controllers:
    """The controllers of all tenants; a fold over ``cache-judgements``, and a ``Gatekeeper``.

    Each record counts once, and brings the number of requests that it stands for, so every process
    that reads the topic comes to the same thresholds, whoever saw the requests. A tenant that is
    dropped, as too many others came after him, begins anew with nothing served.
    """

    def __init__(self, *, most_wrong: float) -> None:
        """Know no tenant.

        Args:
            most_wrong: Bound on P(wrong and served) of each tenant.
        """
        self._most_wrong = most_wrong
        self._tenants: OrderedDict[str, Controller] = OrderedDict()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._allowance = BURST
        self._is_read = False

    def caught_up(self) -> None:
        """All records of before were applied: from now on answers may be served."""
        self._is_read = True

    def apply(self, judged: CandidateJudged) -> None:
        """Take a record of the topic, in log order."""
        if judged.request_id in self._seen:
            return
        self._seen[judged.request_id] = None
        if len(self._seen) > REMEMBERED_IDS:
            self._seen.popitem(last=False)
        controller = self._tenants.get(judged.tenant)
        if controller is None:
            controller = self._tenants[judged.tenant] = Controller(most_wrong=self._most_wrong)
            if len(self._tenants) > MOST_TENANTS:
                self._tenants.popitem(last=False)
        else:
            self._tenants.move_to_end(judged.tenant)
        controller.saw_none(judged.without_candidate)
        controller.judged(
            judged.entry_id,
            score=judged.score,
            is_right=judged.is_right,
            was_served=judged.was_served,
            weight=judged.weight,
        )

    def serves(self, tenant: str, entry_id: str, score: float) -> bool:
        """Whether an entry's answer is served; see ``Gatekeeper``."""
        self._allowance = min(BURST, self._allowance + EXTRA_CALLS)
        controller = self._tenants.get(tenant)
        if not self._is_read or controller is None:
            return False
        can_ask = self._allowance >= 1 or controller.share <= LATER_SHARE
        return can_ask and controller.serves(entry_id, score)

    def asks_again(self, tenant: str, draw: float) -> float | None:
        """Whether a hit is asked again; see ``Gatekeeper``."""
        controller = self._tenants.get(tenant)
        if controller is None or draw >= controller.share:
            return None
        self._allowance = max(0.0, self._allowance - 1)
        return 1 / controller.share

    @property
    def is_read(self) -> bool:
        """Whether all records of before were applied."""
        return self._is_read

    def of(self, tenant: str) -> Controller | None:
        """A tenant's controller; None = nothing was heard of him."""
        return self._tenants.get(tenant)

    def tenants(self) -> Iterator[tuple[str, Controller]]:
        """Every tenant with his controller, the one heard of last first."""
        return iter(reversed(self._tenants.items()))
