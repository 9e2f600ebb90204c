"""Waiting requests and the chunks that come for them."""

import asyncio
import logging
from collections import deque

from services.gateway.decide import Gap, Take, View, accept
from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord, PublicError, error_document
from services.shared.domain.events import ChunkKind, ResultChunk

_LOG = logging.getLogger(__name__)
_MAX_WAITING_CHUNKS = 10_000
RIVAL_GRACE_S = 2.0
"""How long a silent run is waited for once another one has begun to answer."""

_CUT = PublicError(
    code="stream_interrupted",
    message="The answer was cut off inside the gateway. Ask again.",
)


class Waiter:
    """The chunks of one request, in order, each once."""

    __slots__ = ("_arrived", "_chunks", "_is_over", "_view", "rival_since_s")

    def __init__(self) -> None:
        """Wait for the first chunk."""
        self._view = View()
        self._chunks: deque[ResultChunk] = deque()
        self._arrived: asyncio.Future[None] | None = None
        self._is_over = False
        self.rival_since_s: float | None = None

    def put(self, chunk: ResultChunk) -> None:
        """Take a chunk from the log."""
        if self._is_over:
            return
        match accept(self._view, chunk):
            case Take(is_last=is_last):
                self._is_over = is_last
                self.rival_since_s = None
                self._add(chunk)
            case Gap():
                self.end(_CUT)
            case _:
                if self._view.has_rival and self.rival_since_s is None:
                    self.rival_since_s = asyncio.get_running_loop().time()
        if len(self._chunks) > _MAX_WAITING_CHUNKS:
            self.end(_CUT)

    def end(self, error: PublicError) -> None:
        """End the wait with an error of our own."""
        self._is_over = True
        self._add(
            ResultChunk(
                request_id="",
                attempt=0,
                seq=0,
                kind=ChunkKind.ERROR.value,
                payload=error_document(error),
                status=error.meaning.status,
            )
        )

    async def next(self, *, timeout_s: float) -> ResultChunk:
        """The next chunk.

        Raises:
            TimeoutError: None came in time.
        """
        if not self._chunks:
            self._arrived = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(timeout_s):
                await self._arrived
        return self._chunks.popleft()

    @property
    def is_orphaned(self) -> bool:
        """Whether the run that began the answer has fallen silent while another one answers."""
        since_s = self.rival_since_s
        return since_s is not None and asyncio.get_running_loop().time() - since_s > RIVAL_GRACE_S

    def _add(self, chunk: ResultChunk) -> None:
        self._chunks.append(chunk)
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)


class Replies:
    """All requests that wait in this process."""

    def __init__(self) -> None:
        """Start with none."""
        self._waiting: dict[bytes, Waiter] = {}

    @property
    def count(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    def expect(self, request_id: str) -> Waiter:
        """Wait for the chunks of a request, from now on."""
        waiter = self._waiting[request_id.encode()] = Waiter()
        return waiter

    def forget(self, request_id: str) -> None:
        """Wait no longer."""
        self._waiting.pop(request_id.encode(), None)

    def deliver(self, key: bytes, value: bytes) -> None:
        """Take a record of the reply partition; those of other instances' requests are passed."""
        waiter = self._waiting.get(key)
        if waiter is None:
            return
        try:
            chunk = decode_record(value, ResultChunk)
        except PoisonRecord as poison:
            _LOG.error("a chunk cannot be read", extra={"reason": poison.reason})
            waiter.end(_CUT)
            return
        waiter.put(chunk)

    def end_all(self, error: PublicError) -> None:
        """End every wait, e.g. because the process stops."""
        for waiter in self._waiting.values():
            waiter.end(error)
