"""The stream of chunks of one attempt, on its way to the waiting client.

The first output leaves at once; what follows is gathered for a few tens of milliseconds, which
costs a reader nothing and the log a third of its records.
"""

import asyncio
from collections.abc import Awaitable, Callable

from services.model_caller.together import acknowledged
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PublicError
from services.shared.domain.events import ChunkKind, InferenceRequested, ResultChunk
from services.shared.domain.ids import NO_REPLY
from services.shared.domain.terminal import chunk_emit, error_chunk
from services.shared.ports.work import Written

Send = Callable[[Emit], Awaitable[Awaitable[Written]]]
Pass = Callable[[str], None]
"""Is told which place is passed, in processes that are to die somewhere."""

MAX_GATHERED_BYTES = 512 * 1024
"""Output that is not gathered further: it has to fit into a record."""


class ChunkStream:
    """Numbers, gathers and sends the chunks of one attempt; silent where no client waits.

    Attributes:
        is_shown: Whether the client sees what comes; always.
    """

    is_shown = True

    def __init__(  # noqa: PLR0913  # named, and all of one stream
        self,
        request: InferenceRequested,
        *,
        run: str,
        attempt: int,
        headers: dict[str, str],
        gather_s: float,
        send: Send,
        pass_by: Pass | None = None,
    ) -> None:
        """Start an attempt's stream.

        Args:
            request: The request.
            run: Who serves the request.
            attempt: Number of the model call.
            headers: Response headers for the first chunk.
            gather_s: How long output is gathered after the first, seconds.
            send: Where records go.
            pass_by: Told when the first chunk is durable; None = nobody wants to know.
        """
        self._request = request
        self._run = run
        self._attempt = attempt
        self._headers = headers
        self._gather_s = gather_s
        self._send = send
        self._pass_by = pass_by
        self._last: Awaitable[Written] | None = None
        self._is_heard = request.reply_partition != NO_REPLY
        self._seq = 0
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._order = asyncio.Lock()
        self._is_closed = False

    async def delta(self, fragment: bytes) -> None:
        """Hand on a piece of output; raises what a flush before it raised."""
        if not self._is_heard:
            return
        self._gathered.append(fragment)
        self._gathered_bytes += len(fragment)
        if self._flushing is not None and self._flushing.done():
            await self._flushed()
        if self._seq == 0 or self._gathered_bytes > MAX_GATHERED_BYTES:
            await self._flush()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._gather_s, self._flush_soon)

    async def end(self, *fragments: bytes) -> None:
        """Close the stream with its last pieces; for an unstreamed answer, with all of it."""
        await self._close(ChunkKind.END, b"\n".join((*self._take(), *fragments)))

    async def fail(self, error: PublicError) -> None:
        """Close the stream with an error, after what was gathered."""
        if self._gathered:
            await self._flush()
        if self._is_heard:
            await self._settle()
            async with self._order:
                self._is_closed = True
                chunk = error_chunk(
                    self._request,
                    error,
                    headers=self._headers,
                    run=self._run,
                    attempt=self._attempt,
                    seq=self._next(),
                )
                self._last = await self._send(chunk_emit(self._request, chunk))

    async def leave(self, leaving: Emit) -> bool:
        """Tell the client that his request is cancelled, while the stream goes on for others.

        Args:
            leaving: What tells him.

        Returns:
            Whether he was told, durably; else the stream was closed before.
        """
        async with self._order:
            if self._is_closed:
                return False
            sent = await self._send(leaving)
        await acknowledged(sent)
        return True

    async def acknowledged(self) -> None:
        """Wait until all chunks are durable: they are when the last is, being of one partition."""
        if self._last is not None:
            await acknowledged(self._last)

    async def _close(self, kind: ChunkKind, payload: bytes) -> None:
        if self._is_heard:
            await self._settle()
            async with self._order:
                self._is_closed = True
                await self._emit(kind, payload)

    async def _settle(self) -> None:
        """Wait for a flush under way; its error, if any, is raised here."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._flushing is not None:
            await self._flushed()

    async def _flushed(self) -> None:
        flushing, self._flushing = self._flushing, None
        if flushing is not None:
            await flushing

    def _flush_soon(self) -> None:
        self._timer = None
        flushing = self._flushing
        if flushing is not None and not flushing.done():  # the log is slow: gather on
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._gather_s, self._flush_soon)
        elif flushing is None or flushing.exception() is None:
            self._flushing = asyncio.create_task(self._flush())
        # else the next piece, or the end, raises what went wrong

    async def _flush(self) -> None:
        async with self._order:
            if gathered := self._take():
                await self._emit(ChunkKind.DELTA, b"\n".join(gathered))

    def _take(self) -> list[bytes]:
        gathered, self._gathered = self._gathered, []
        self._gathered_bytes = 0
        return gathered

    async def _emit(self, kind: ChunkKind, payload: bytes) -> None:
        seq = self._next()
        chunk = ResultChunk(
            request_id=self._request.request_id,
            attempt=self._attempt,
            seq=seq,
            run=self._run,
            kind=kind.value,
            payload=payload,
            headers=self._headers if seq == 0 else {},
        )
        self._last = await self._send(chunk_emit(self._request, chunk))
        if self._pass_by is not None and seq == 0:
            await acknowledged(self._last)
            self._pass_by("after_first_chunk")

    def _next(self) -> int:
        seq, self._seq = self._seq, self._seq + 1
        return seq
