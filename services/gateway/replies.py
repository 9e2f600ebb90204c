"""Waiting requests and the chunks that come for them."""

import asyncio
import logging
from collections import deque

from services.gateway.decide import Gap, Repeated, Rival, Take, View, accept
from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord, PublicError, error_document
from services.shared.domain.events import ChunkKind, ResultChunk
from services.shared.domain.terminal import retry_headers

_LOG = logging.getLogger(__name__)
MAX_WAITING_CHUNKS = 10_000
MAX_WAITING_BYTES = 6 * 1024 * 1024
"""What one slow reader may make this process hold; a single larger chunk passes all the same."""

RIVAL_GRACE_S = 2.0
"""How long a silent run is waited for once another one has begun to answer."""

_CUT = PublicError(
    code="stream_interrupted",
    message="The answer was cut off inside the gateway. Ask again.",
)
_OVERRUN = PublicError(
    code="stream_interrupted",
    message="The answer came faster than it was read, so it is cut off. Ask again, and read on.",
)
_ORPHANED = PublicError(
    code="stream_interrupted",
    message="The process that was answering is gone; the answer is cut off. Ask again.",
)


class Abandoned(Exception):
    """Nobody waits for the answer any more. Not retriable."""


class Waiter:
    """The chunks of one request, in order, each once."""

    __slots__ = (
        "_arrived",
        "_chunks",
        "_is_abandoned",
        "_is_over",
        "_orphan_timer",
        "_view",
        "_waiting_bytes",
    )

    def __init__(self) -> None:
        """Wait for the first chunk."""
        self._view = View()
        self._chunks: deque[ResultChunk] = deque()
        self._waiting_bytes = 0
        self._arrived: asyncio.Future[None] | None = None
        self._is_over = False
        self._is_abandoned = False
        self._orphan_timer: asyncio.TimerHandle | None = None

    def put(self, chunk: ResultChunk) -> None:
        """Take a chunk from the log."""
        if self._is_over:
            return
        match accept(self._view, chunk):
            case Take(is_last=is_last):
                self._expect_no_end()
                if self._is_full(chunk):
                    self.end(_OVERRUN)
                else:
                    self._is_over = is_last
                    self._add(chunk)
            case Rival():
                if self._orphan_timer is None:
                    loop = asyncio.get_running_loop()
                    self._orphan_timer = loop.call_later(RIVAL_GRACE_S, self.end, _ORPHANED)
            case Gap():
                self.end(_CUT)
            case Repeated():
                pass

    def end(self, error: PublicError) -> None:
        """End the answer with an error of our own, unless it has ended."""
        if self._is_over:
            return
        self._is_over = True
        self._expect_no_end()
        self._add(
            ResultChunk(
                request_id="",
                attempt=0,
                seq=0,
                kind=ChunkKind.ERROR.value,
                payload=error_document(error),
                status=error.meaning.status,
                headers=retry_headers(error),
            )
        )

    def abandon(self) -> None:
        """Wait no longer: whoever wanted the answer is gone."""
        self._is_over = self._is_abandoned = True
        self._expect_no_end()
        self._chunks.clear()
        self._wake()

    @property
    def has_begun(self) -> bool:
        """Whether anything of the answer has come, an error included."""
        return self._view.run is not None or self._is_over

    async def peek(self, *, timeout_s: float) -> ResultChunk:
        """The next chunk, which stays the next one.

        Raises:
            TimeoutError: None came in time.
            Abandoned: Nobody wants it any more.
        """
        await self._wait(timeout_s)
        return self._chunks[0]

    async def next(self, *, timeout_s: float) -> ResultChunk:
        """The next chunk.

        Raises:
            TimeoutError: None came in time.
            Abandoned: Nobody wants it any more.
        """
        await self._wait(timeout_s)
        chunk = self._chunks.popleft()
        self._waiting_bytes -= len(chunk.payload)
        return chunk

    async def _wait(self, timeout_s: float) -> None:
        if not self._chunks and not self._is_abandoned:
            self._arrived = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(timeout_s):
                await self._arrived
        if self._is_abandoned:
            raise Abandoned

    def _is_full(self, chunk: ResultChunk) -> bool:
        waiting_bytes = self._waiting_bytes + len(chunk.payload)
        return len(self._chunks) >= MAX_WAITING_CHUNKS or (
            bool(self._chunks) and waiting_bytes > MAX_WAITING_BYTES
        )

    def _add(self, chunk: ResultChunk) -> None:
        self._chunks.append(chunk)
        self._waiting_bytes += len(chunk.payload)
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _expect_no_end(self) -> None:
        if self._orphan_timer is not None:
            self._orphan_timer.cancel()
            self._orphan_timer = None


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
        waiter = self._waiting.pop(request_id.encode(), None)
        if waiter is not None:
            waiter.abandon()

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
