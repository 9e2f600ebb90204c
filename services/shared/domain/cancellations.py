"""What ``control`` says of requests: which are to be cancelled, and whose calls others need. Pure.

Nothing follows from the order of the records: a request whose call somebody holds is not stopped,
whether it was given up before or after that was said.
"""

from collections import OrderedDict

import msgspec

from services.shared.domain.errors import PublicError
from services.shared.domain.events import ControlRequested

CANCELLED = PublicError(code="request_cancelled", message="The request was cancelled.")
CANCEL = "cancel"
HOLD = "hold"
RELEASE = "release"
REMEMBERED_MS = 3_600_000
"""As long as the topic keeps its records."""

MOST_REMEMBERED = 100_000
"""Requests; the oldest are forgotten first."""


class _Said(msgspec.Struct):
    """What was said of a request.

    Attributes:
        at_ms: When it was first heard of, unix ms.
        is_given_up: It is to be cancelled.
        holders: Who needs its call.
    """

    at_ms: float
    is_given_up: bool = False
    holders: set[str] = msgspec.field(default_factory=set)


class Cancellations:
    """All that is remembered of what was said; a request of another tenant is another request."""

    def __init__(self, *, most: int = MOST_REMEMBERED) -> None:
        """Know of none.

        Args:
            most: Requests that are remembered.
        """
        self._said: OrderedDict[tuple[str, str], _Said] = OrderedDict()
        self._most = most

    def hear(self, control: ControlRequested, *, now_ms: float) -> None:
        """Take a record; one that wants something else says nothing."""
        if control.action in {CANCEL, HOLD}:
            said = self._said.setdefault((control.request_id, control.tenant), _Said(now_ms))
            if control.action == CANCEL:
                said.is_given_up = True
            else:
                said.holders.add(control.holder)
        elif control.action == RELEASE:
            self._release(control)
        self._forget(now_ms - REMEMBERED_MS)

    def is_given_up(self, request_id: str, tenant: str) -> bool:
        """Whether a request is to be cancelled."""
        said = self._said.get((request_id, tenant))
        return said is not None and said.is_given_up

    def is_stopped(self, request_id: str, tenant: str) -> bool:
        """Whether a request is to be cancelled, and its call is of no use to others."""
        said = self._said.get((request_id, tenant))
        return said is not None and said.is_given_up and not said.holders

    def is_left(self, request_id: str, tenant: str) -> bool:
        """Whether a request is to be cancelled, but its call is to go on for others."""
        said = self._said.get((request_id, tenant))
        return said is not None and said.is_given_up and bool(said.holders)

    def _release(self, control: ControlRequested) -> None:
        subject = (control.request_id, control.tenant)
        said = self._said.get(subject)
        if said is None:
            return
        said.holders.discard(control.holder)
        if not said.holders and not said.is_given_up:
            del self._said[subject]

    def _forget(self, before_ms: float) -> None:
        while self._said:
            subject, said = next(iter(self._said.items()))
            if said.at_ms >= before_ms and len(self._said) <= self._most:
                return
            del self._said[subject]
