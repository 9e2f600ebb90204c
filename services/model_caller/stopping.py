"""Stopping a call from outside, at once, without stopping the task that makes it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """What was awaited has been stopped."""


class Stop:
    """Asks the one who awaits through it to stop."""

    def __init__(self) -> None:
        """Ask for nothing yet."""
        self._is_asked = False
        self._task: asyncio.Task[object] | None = None

    def ask(self) -> None:
        """Stop what is awaited now or next."""
        if not self._is_asked:
            self._is_asked = True
            if self._task is not None:
                self._task.cancel()

    @property
    def is_asked(self) -> bool:
        """Whether ``ask`` was called."""
        return self._is_asked

    async def or_stop(self, wait: Callable[[], Awaitable[T]]) -> T:
        """Await something that may be stopped.

        Raises:
            Stopped: It was asked for.
        """
        if self.is_asked:
            raise Stopped
        task = self._task = asyncio.current_task()
        try:
            return await wait()
        except asyncio.CancelledError:
            if not self._is_asked or task is None:
                raise
            task.uncancel()
            raise Stopped from None
        finally:
            self._task = None
