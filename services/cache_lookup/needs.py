"""Whose calls are needed here, and which requests were given up: what ``control`` is for."""

from services.cache_lookup.emits import need_of_call
from services.cache_lookup.flights import Flight, Joiner, W
from services.shared.domain.cancellations import HOLD, RELEASE, Cancellations
from services.shared.domain.emit import Emit
from services.shared.domain.events import ControlRequested, InferenceRequested
from services.shared.ports.clock import Clock


class Needs:
    """What this process has said of leaders, and what all have said of any requests."""

    def __init__(self, *, clock: Clock, holder: str) -> None:
        """Know of nothing.

        Args:
            clock: The time.
            holder: Name of the process, the same after a restart.
        """
        self._clock = clock
        self._holder = holder
        self._said = Cancellations()

    def hear(self, control: ControlRequested) -> None:
        """Take what somebody wants of a request."""
        self._said.hear(control, now_ms=self._clock.now_ms())

    def is_given_up(self, request: InferenceRequested) -> bool:
        """Whether a request is cancelled for its caller."""
        return self._said.is_given_up(request.request_id, request.tenant)

    def has_lost_its_call(self, request_id: str, tenant: str) -> bool:
        """Whether the call of a request ends with it, so that nobody may join it."""
        return self._said.is_stopped(request_id, tenant)

    def held(self, flight: Flight[W], joiner: Joiner[W]) -> list[Emit]:
        """What is to be said of a leader once it has a joiner; nothing where that was said."""
        if flight.is_held:
            return []
        flight.is_held = True
        return [self._need(HOLD, flight, joiner)]

    def released(self, flight: Flight[W], joiner: Joiner[W]) -> list[Emit]:
        """What is to be said of a leader once its last joiner has left."""
        if flight.joiners or not flight.is_held:
            return []
        flight.is_held = False
        return [self._need(RELEASE, flight, joiner)]

    def is_left_alone(self, flight: Flight[W]) -> bool:
        """Whether a flight has nobody left: its leader was given up, and its joiners are gone."""
        return not flight.joiners and self._said.is_given_up(flight.leader_id, flight.tenant)

    def _need(self, action: str, flight: Flight[W], joiner: Joiner[W]) -> Emit:
        return need_of_call(
            action,
            flight.leader_id,
            joiner.request,
            holder=self._holder,
            now_ms=self._clock.now_ms(),
        )
