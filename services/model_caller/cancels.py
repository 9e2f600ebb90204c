"""Requests that somebody wants cancelled: those being served, and those that are still to come."""

from collections import OrderedDict
from collections.abc import Callable

from services.shared.domain.events import ControlRequested, InferenceRequested
from services.shared.ports.clock import Clock

CANCEL = "cancel"
_REMEMBERED_MS = 3_600_000
_MOST_REMEMBERED = 100_000


class Cancels:
    """Brings cancellations and servings together, in whatever order they come."""

    def __init__(self, clock: Clock) -> None:
        """Know of none."""
        self._clock = clock
        self._wanted: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._serving: dict[str, tuple[str, Callable[[], None]]] = {}

    def hear(self, control: ControlRequested) -> None:
        """Take what somebody wants."""
        if control.action != CANCEL:
            return
        self._wanted.setdefault((control.request_id, control.tenant), self._clock.now_ms())
        self._forget()
        serving = self._serving.get(control.request_id)
        if serving is not None and serving[0] == control.tenant:
            serving[1]()

    def is_wanted(self, request: InferenceRequested) -> bool:
        """Whether a request is to be cancelled."""
        return (request.request_id, request.tenant) in self._wanted

    def serve(self, request: InferenceRequested, stop: Callable[[], None]) -> None:
        """``stop`` is called when the request is to be cancelled, now or later."""
        self._serving[request.request_id] = (request.tenant, stop)
        if self._wanted and self.is_wanted(request):
            stop()

    def served(self, request: InferenceRequested) -> None:
        """The request needs no stopping any more."""
        self._serving.pop(request.request_id, None)

    def _forget(self) -> None:
        oldest_ms = self._clock.now_ms() - _REMEMBERED_MS
        while self._wanted:
            oldest, at_ms = next(iter(self._wanted.items()))
            if at_ms >= oldest_ms and len(self._wanted) <= _MOST_REMEMBERED:
                return
            del self._wanted[oldest]
