"""The writing side of a connection: what is unsent, and whether the client takes it."""

import asyncio


class Outlet:
    """Writes to one client and knows whether it reads.

    Attributes:
        is_congested: More is unsent than the transport's high-water mark.
    """

    __slots__ = (
        "_drained_at",
        "_drained_bytes",
        "_is_free",
        "_transport",
        "_written_bytes",
        "is_congested",
    )

    def __init__(self, transport: asyncio.Transport, *, now: float) -> None:
        self.is_congested = False
        self._transport = transport
        self._is_free = asyncio.Event()
        self._written_bytes = 0
        self._drained_bytes = 0
        self._drained_at = now

    def write(self, data: bytes) -> None:
        """Hand bytes to the socket."""
        self._written_bytes += len(data)
        self._transport.write(data)

    async def drained(self) -> None:
        """Wait until less is unsent, or the connection is lost."""
        await self._is_free.wait()

    def congest(self) -> None:
        """Too much is unsent."""
        self.is_congested = True
        self._is_free.clear()

    def free(self) -> None:
        """The client has taken most of it, or is gone."""
        self.is_congested = False
        self._is_free.set()

    def unsent_bytes(self) -> int:
        """What the socket has not taken yet."""
        return self._transport.get_write_buffer_size()

    def stalled_s(self, now: float) -> float:
        """How long something has been unsent without the socket taking any of it, in seconds.

        Args:
            now: The loop's time. The answer is as exact as the calls are frequent.
        """
        drained_bytes = self._written_bytes - self.unsent_bytes()
        if drained_bytes != self._drained_bytes or drained_bytes == self._written_bytes:
            self._drained_bytes = drained_bytes
            self._drained_at = now
        return now - self._drained_at
