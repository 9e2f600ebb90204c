"""A request that is answered with what another one is answered."""

import asyncio
from collections.abc import Callable

from services.gateway.claims import stored_chunk
from services.gateway.waiter import Waiter
from services.shared.domain.errors import PublicError
from services.shared.domain.events import InferenceFinished, InferenceRequested


class Attached:
    """A request that gets the answer of another one.

    Attributes:
        request: The other request.
        waiter: Its chunks, or its whole answer as one.
        watch: What sees to it that an answer comes.
    """

    def __init__(
        self, request: InferenceRequested, waiter: Waiter, *, release: Callable[[Waiter], None]
    ) -> None:
        """Attach; ``release`` is called at the end."""
        self.request = request
        self.waiter = waiter
        self.watch: asyncio.Task[None] | None = None
        self._release = release

    def release(self) -> None:
        """Wait no longer."""
        if self.watch is not None:
            self.watch.cancel()
        self._release(self.waiter)

    def answer(self, finished: InferenceFinished) -> None:
        """Answer from the terminal record, unless chunks have come."""
        if not self.waiter.has_begun:
            self.waiter.put(stored_chunk(self.request, finished))

    def end(self, error: PublicError) -> None:
        """Answer with an error, unless chunks have come."""
        if not self.waiter.has_begun:
            self.waiter.end(error)
