"""The chunks of one answer, in order, each once, for the one who waits for them."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from services.gateway.decide import Bereft, Close, Gap, Keep, Pass, Rival, Take, View, accept
from services.gateway.sse import EventId
from services.shared.domain.errors import PublicError, error_document
from services.shared.domain.events import ChunkKind, ResultChunk
from services.shared.domain.terminal import retry_headers

MAX_WAITING_CHUNKS = 10_000
MAX_WAITING_BYTES = 6 * 1024 * 1024
"""What one slow reader may make this process hold; a single larger chunk passes all the same."""

MAX_WAITING_ATTACHED_BYTES = 128 * 1024
"""The same for a reader whose chunks can be read again: beyond this they are, later."""

RIVAL_GRACE_S = 2.0
"""How long a silent run is waited for once another one has begun to answer."""

CUT = PublicError(
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
_BEREFT = PublicError(
    code="stream_interrupted",
    message="The call whose answer this request shared was ended by another one. Ask again.",
)
_FOREIGN = PublicError(
    code="invalid_cursor",
    message=(
        "This is no place in the request's stream. Send the last 'id:' that you got of it, or the "
        "number of events that you have read."
    ),
    param="starting_after",
)


class Abandoned(Exception):
    """Nobody waits for the answer any more. Not retriable."""


class Exhausted(Exception):
    """The answer has ended, and its reader had all of it before. Not retriable."""


class Place(NamedTuple):
    """Where in ``result-chunks`` a chunk lies, and since when (unix ms)."""

    partition: int
    offset: int
    timestamp_ms: int


NOWHERE = Place(-1, -1, 0)


class Facts(msgspec.Struct, frozen=True):
    """What the headers of a chunk say of its request.

    Attributes:
        tenant: Whose it is.
        deadline_at: When it has to have ended, unix ms.
        is_streamed: Whether its answer is a stream.
    """

    tenant: str
    deadline_at: int
    is_streamed: bool


Lead = Callable[["Waiter", str], None]
"""Told that the answer is that of another request from now on; empty = its own again."""


class Waiter:
    """The chunks of one request.

    One that is *attached* gets them from the log: from the first on, as fast as they are taken, and
    is told when it has caught up. Else they come as they arrive, and must be taken in time.

    Attributes:
        facts: What is known of the request; for an attached one, from its first chunk on.
    """

    __slots__ = (
        "_after",
        "_arrived",
        "_chunks",
        "_has_rival",
        "_held",
        "_if_gone",
        "_is_abandoned",
        "_is_attached",
        "_is_exhausted",
        "_is_leader_live",
        "_is_over",
        "_is_own_live",
        "_kept",
        "_lead",
        "_on_room",
        "_orphan_timer",
        "_place",
        "_seq",
        "_view",
        "_waiting_bytes",
        "facts",
    )

    def __init__(
        self,
        *,
        lead: Lead | None = None,
        after: EventId | None = None,
        if_gone: PublicError | None = None,
    ) -> None:
        """Wait for the first chunk.

        Args:
            lead: Brings the chunks of another request when the answer is that of another one.
            after: Leave out what its reader has: all up to this event's chunk.
            if_gone: Attached; the error that says that its first chunks are no longer kept.
        """
        self.facts: Facts | None = None
        self._view = View()
        self._chunks: deque[tuple[ResultChunk, Place]] = deque()
        self._waiting_bytes = 0
        self._arrived: asyncio.Future[None] | None = None
        self._is_over = self._is_abandoned = self._is_exhausted = False
        self._orphan_timer: asyncio.TimerHandle | None = None
        self._has_rival = False
        self._lead = lead
        self._after = after
        self._if_gone = if_gone or CUT
        self._is_attached = if_gone is not None
        self._is_own_live = if_gone is None
        self._is_leader_live = False
        self._held: list[tuple[ResultChunk, Place]] = []
        self._kept: tuple[ResultChunk, Place] | None = None
        self._on_room: list[Callable[[], None]] = []
        self._place = NOWHERE
        self._seq = 0

    # -- what brings the chunks ------------------------------------------------------------------

    def put(self, chunk: ResultChunk, place: Place = NOWHERE) -> None:
        """Take a chunk from the log."""
        if self._is_over:
            return
        leader = self._view.leader
        if leader and not self._is_leader_live:
            # What the request says itself comes after what its leader had said by then.
            if chunk.request_id != leader:
                self._held.append((chunk, place))
                return
            self._release(before_ms=place.timestamp_ms)
            if self._has_ended or self._view.leader != leader:
                return
        self._take(chunk, place)

    def caught_up(self, *, with_leader: bool) -> None:
        """All that was there has been put; what comes from now on is new."""
        if with_leader:
            self._is_leader_live = True
            self._release()
        else:
            self._is_own_live = True
        if self.is_live and not self._is_over:
            if self._after is not None and self.facts is not None:  # else none of it is kept
                self.end(_FOREIGN)
            elif self._has_rival:
                self._expect_end_soon()
        self._wake()

    def fell_behind(self, *, with_leader: bool) -> None:
        """No more is put until there is room again."""
        if with_leader:
            self._is_leader_live = False
        else:
            self._is_own_live = False

    @property
    def is_live(self) -> bool:
        """Whether all that was there has been put."""
        return self._is_own_live and (self._is_leader_live or not self._view.leader)

    @property
    def is_full(self) -> bool:
        """Whether its reader should take some before more is put."""
        most_bytes = MAX_WAITING_ATTACHED_BYTES if self._is_attached else MAX_WAITING_BYTES
        return len(self._chunks) >= MAX_WAITING_CHUNKS or self._waiting_bytes >= most_bytes

    def when_there_is_room(self, tell: Callable[[], None]) -> None:
        """Call once when its reader has taken all that waits."""
        self._on_room.append(tell)

    def know(self, facts: Facts) -> None:
        """Take what is known of the request."""
        self.facts = facts
        self._wake()

    def expire(self) -> None:
        """Attached: what was kept of the answer may not be shown any more."""
        self.end(self._if_gone)

    def end(self, error: PublicError) -> None:
        """End the answer with an error of our own, unless it has ended."""
        if self._is_over:
            return
        self._is_over = True
        self._expect_no_end()
        chunk = ResultChunk(
            request_id="",
            attempt=0,
            seq=0,
            kind=ChunkKind.ERROR.value,
            payload=error_document(error),
            status=error.meaning.status,
            headers=retry_headers(error),
        )
        self._add(chunk, NOWHERE)

    # -- who waits -------------------------------------------------------------------------------

    @property
    def at(self) -> EventId | None:
        """Id of the chunk that ``next`` gave last; None when it came from no log."""
        place = self._place
        return None if place.offset < 0 else EventId(self._seq, place.partition, place.offset)

    def abandon(self) -> None:
        """Wait no longer: whoever wanted the answer is gone."""
        self._is_over = self._is_abandoned = True
        self._expect_no_end()
        self._chunks.clear()
        self._held.clear()
        self._on_room.clear()
        if self._lead is not None and self._view.leader:
            self._view.leader = ""
            self._lead(self, "")
        self._wake()

    async def known(self, *, timeout_s: float | None) -> Facts | None:
        """What is known of the request once anything is, or None once all was read in vain.

        Raises:
            TimeoutError: The log could not be read in time.
            Abandoned: Nobody wants it any more.
        """
        async with asyncio.timeout(timeout_s):
            while self.facts is None and not self.is_live and not self._is_over:
                await self._news()
        if self._is_abandoned:
            raise Abandoned
        return self.facts

    @property
    def has_begun(self) -> bool:
        """Whether the log has said anything of the request, or the answer has ended."""
        is_known = self.facts is not None or self._view.run is not None
        return is_known or bool(self._view.leader) or self._is_over

    async def peek(self, *, timeout_s: float) -> ResultChunk:
        """The chunk that ``next`` will give, which raises the same."""
        await self._until_chunk(timeout_s)
        return self._chunks[0][0]

    async def next(self, *, timeout_s: float) -> ResultChunk:
        """The next chunk.

        Raises:
            TimeoutError: None came in time.
            Exhausted: None will come: the reader had the whole answer before.
            Abandoned: Nobody wants it any more.
        """
        await self._until_chunk(timeout_s)
        chunk, self._place = self._chunks.popleft()
        self._seq = chunk.seq
        self._waiting_bytes -= len(chunk.payload)
        if not self._chunks and self._on_room:
            waiting, self._on_room = self._on_room, []
            for tell in waiting:
                tell()
        return chunk

    @property
    def _has_ended(self) -> bool:
        return self._is_over

    @property
    def _will_say_no_more(self) -> bool:
        return self._is_abandoned or self._is_exhausted

    # -- inside ----------------------------------------------------------------------------------

    async def _until_chunk(self, timeout_s: float) -> None:
        if not self._chunks and not self._will_say_no_more:
            async with asyncio.timeout(timeout_s):
                while not self._chunks and not self._will_say_no_more:
                    await self._news()
        if self._is_abandoned:
            raise Abandoned
        if not self._chunks:
            raise Exhausted

    def _take(self, chunk: ResultChunk, place: Place) -> None:
        leader, is_new = self._view.leader, self._view.run is None
        verdict = accept(self._view, chunk)
        if self._view.leader != leader:
            self._follow(self._view.leader)
        match verdict:
            case Take() | Keep() | Close():
                self._expect_no_end()
                self._go_on(verdict, chunk, place)
            case Rival():
                self._has_rival = True
                self._expect_end_soon()
            case Bereft():
                self.end(_BEREFT)
            case Gap():
                self.end(self._if_gone if is_new else CUT)
            case Pass():
                pass

    def _go_on(self, verdict: Take | Keep | Close, chunk: ResultChunk, place: Place) -> None:
        if isinstance(verdict, Take):
            self._pass_on(chunk, place, is_last=verdict.is_last)
        elif isinstance(verdict, Keep):
            self._kept = (chunk, place)
        elif self._kept is not None:
            self._pass_on(*self._kept, is_last=True)

    def _follow(self, leader: str) -> None:
        self._is_leader_live = False
        if self._lead is None:
            self.end(CUT)
        else:
            self._lead(self, leader)

    def _release(self, *, before_ms: float = float("inf")) -> None:
        """Take what the request said itself while its leader was being read up to a time."""
        leader = self._view.leader
        while self._held and self._held[0][1].timestamp_ms < before_ms and not self._is_over:
            self._take(*self._held.pop(0))
            if self._view.leader not in ("", leader):
                return

    def _pass_on(self, chunk: ResultChunk, place: Place, *, is_last: bool) -> None:
        if self._must_keep_up and self._is_overrun(chunk):
            self.end(_OVERRUN)
        elif self._after is None:
            self._is_over = is_last
            self._add(chunk, place)
        else:
            self._skip_to(self._after, chunk, place, is_last=is_last)

    def _skip_to(self, after: EventId, chunk: ResultChunk, place: Place, *, is_last: bool) -> None:
        is_before = place.partition == after.partition and place.offset < after.offset
        if is_before and not is_last:
            return
        if (chunk.seq, place.partition, place.offset) != (after.seq, after.partition, after.offset):
            self.end(_FOREIGN)
            return
        self._after = None
        self._is_over = is_last
        if after.fragment is not None:
            self._add(chunk, place)
        elif is_last:
            self._is_exhausted = True
            self._wake()

    @property
    def _must_keep_up(self) -> bool:
        return not self._is_attached and not self._view.leader

    def _is_overrun(self, chunk: ResultChunk) -> bool:
        waiting_bytes = self._waiting_bytes + len(chunk.payload)
        return len(self._chunks) >= MAX_WAITING_CHUNKS or (
            bool(self._chunks) and waiting_bytes > MAX_WAITING_BYTES
        )

    def _add(self, chunk: ResultChunk, place: Place) -> None:
        self._chunks.append((chunk, place))
        self._waiting_bytes += len(chunk.payload)
        self._wake()

    async def _news(self) -> None:
        self._arrived = asyncio.get_running_loop().create_future()
        await self._arrived

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _expect_end_soon(self) -> None:
        if self._orphan_timer is None and self.is_live:
            loop = asyncio.get_running_loop()
            self._orphan_timer = loop.call_later(RIVAL_GRACE_S, self.end, _ORPHANED)

    def _expect_no_end(self) -> None:
        self._has_rival = False
        if self._orphan_timer is not None:
            self._orphan_timer.cancel()
            self._orphan_timer = None
