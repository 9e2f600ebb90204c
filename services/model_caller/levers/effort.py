"""How much work the checks of an answer may take, counted in steps. Pure.

Whoever must not be held up allows few steps, and where they do not suffice has the same checks made
beside the event loop, with more.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

MAX_STEPS = 20_000
"""For all checks of an answer; 70 to 150 ms of CPU."""


class TooMuch(Exception):
    """Checks take more steps than they may, so nothing is known. Retriable with more."""


class Effort:
    """What is left for checks.

    Attributes:
        left: Steps.
        gives_up: Whether a check that is not through when none are left passes for not made;
            else whoever allowed them is told.
    """

    __slots__ = ("gives_up", "left")

    def __init__(self, left: int = MAX_STEPS, *, gives_up: bool = True) -> None:
        """Begin."""
        self.left = left
        self.gives_up = gives_up

    def step(self) -> None:
        """Take a step.

        Raises:
            TooMuch: None is left.
        """
        self.left -= 1
        if self.left < 0:
            raise TooMuch


_ALLOWED: ContextVar[Effort | None] = ContextVar("what checks may take", default=None)


@contextmanager
def allowing(effort: Effort) -> Iterator[None]:
    """Let all checks within share an effort."""
    token = _ALLOWED.set(effort)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def allowed() -> Effort:
    """What a check may take; by itself, the most."""
    return _ALLOWED.get() or Effort()
