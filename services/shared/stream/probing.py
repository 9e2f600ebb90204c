"""Writing to a log that may be away, without filling the process with those who wait for it."""

from services.shared.domain.errors import Unavailable
from services.shared.ports.clock import Clock

ACKNOWLEDGE_WITHIN_S = 4.0
"""How long an acknowledgement is waited for while somebody waits for an answer."""

_PROBE_EVERY_S = 0.5


class Probing:
    """After a write that was not confirmed only one in a while is let through to try."""

    def __init__(self, clock: Clock) -> None:
        """Let everything through."""
        self._clock = clock
        self._is_failing = False
        self._next_try_s = 0.0

    def check(self) -> None:
        """Let one write through.

        Raises:
            Unavailable: The log has not confirmed lately, and another write is trying.
        """
        if not self._is_failing:
            return
        now_s = self._clock.monotonic_s()
        if now_s < self._next_try_s:
            raise Unavailable("kafka", "it does not acknowledge")
        self._next_try_s = now_s + _PROBE_EVERY_S

    def confirmed(self) -> None:
        """The log has confirmed a write."""
        self._is_failing = False

    def failed(self) -> None:
        """The log has not confirmed a write."""
        self._is_failing = True
        self._next_try_s = self._clock.monotonic_s() + _PROBE_EVERY_S
