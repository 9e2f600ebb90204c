"""Requests that somebody wants cancelled: those being served, and those that are still to come."""

from collections.abc import Callable

import msgspec

from services.shared.domain.cancellations import Cancellations
from services.shared.domain.events import ControlRequested, InferenceRequested
from services.shared.ports.clock import Clock


class _Served(msgspec.Struct):
    """A request being served, and how its serving is told."""

    request: InferenceRequested
    stop: Callable[[], None]
    leave: Callable[[], None]


class Cancels:
    """Brings cancellations and servings together, in whatever order they come."""

    def __init__(self, clock: Clock) -> None:
        """Know of none."""
        self._clock = clock
        self._wanted = Cancellations()
        self._serving: dict[str, _Served] = {}

    def hear(self, control: ControlRequested) -> None:
        """Take what somebody wants."""
        self._wanted.hear(control, now_ms=self._clock.now_ms())
        served = self._serving.get(control.request_id)
        if served is not None:
            self._tell(served)

    def is_wanted(self, request: InferenceRequested) -> bool:
        """Whether a request is to be cancelled, and nobody else needs its call."""
        return self._wanted.is_stopped(request.request_id, request.tenant)

    def is_left(self, request: InferenceRequested) -> bool:
        """Whether a request is cancelled for its caller, while others need its call."""
        return self._wanted.is_left(request.request_id, request.tenant)

    def serve(
        self, request: InferenceRequested, stop: Callable[[], None], leave: Callable[[], None]
    ) -> None:
        """Have the one who serves a request told when it is cancelled, now or later.

        Args:
            request: The request.
            stop: Its call is to end.
            leave: Its caller has what he wants, but others need its call; may come repeatedly.
        """
        served = self._serving[request.request_id] = _Served(request, stop, leave)
        self._tell(served)

    def served(self, request: InferenceRequested) -> None:
        """The request needs no stopping any more."""
        self._serving.pop(request.request_id, None)

    def _tell(self, served: _Served) -> None:
        if self.is_wanted(served.request):
            served.stop()
        elif self.is_left(served.request):
            served.leave()
