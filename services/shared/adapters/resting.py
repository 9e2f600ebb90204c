"""When a server that fails is asked again."""

from services.shared.domain.errors import Unavailable
from services.shared.ports.clock import Clock

_FAILURES_TO_OPEN = 5
_PROBE_EVERY_S = 1.0


class Resting:
    """After some failures in a row a server is left alone but for one probe a second."""

    def __init__(self, server: str, *, clock: Clock) -> None:
        """Let everything through.

        Args:
            server: Its name in errors.
            clock: The time.
        """
        self._server = server
        self._clock = clock
        self._failures = 0
        self._next_try_s = 0.0

    def check(self) -> None:
        """Let one call through.

        Raises:
            Unavailable: It is left alone now.
        """
        if self._failures < _FAILURES_TO_OPEN:
            return
        now_s = self._clock.monotonic_s()
        if now_s < self._next_try_s:
            raise Unavailable(self._server, "it failed repeatedly and is left alone for a second")
        self._next_try_s = now_s + _PROBE_EVERY_S

    def failed(self) -> None:
        """A call failed."""
        self._failures += 1

    def answered(self) -> None:
        """A call was answered."""
        self._failures = 0
