"""What this process says of its calls, and what it knows of the calls of all.

Before a call its ``started`` is acknowledged; while calls run, ``alive`` says so on each partition
concerned; after it, ``finished`` and the ledger's row. The index follows, so that a request that
comes again, whether after a crash, a rebalance or in another batch, meets what became of it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence

from services.model_caller import records
from services.model_caller.attempt_index import SILENCE_S, AttemptIndex, Ended, OpenAttempt
from services.model_caller.redelivery import is_gone
from services.model_caller.together import acknowledged
from services.shared.domain.emit import Emit
from services.shared.domain.events import (
    InferenceRequested,
    RequestBatch,
    Target,
)
from services.shared.ports.clock import Clock
from services.shared.ports.work import OpenRecord

_LOG = logging.getLogger(__name__)
ALIVE_EVERY_S = 2.0
_LOOK_AGAIN_S = 0.5
_RELEASE_S = 3.0
_NO_DEADLINE_MS = 86_400_000

Partition = tuple[str, int]
"""A topic of batches and one of its partitions."""


class Journal:
    """The calls of this process, and the index of all.

    Attributes:
        owner: This process, as the attempt log names it.
        index: What is known.
    """

    def __init__(
        self,
        *,
        owner: str,
        holds_slot: bool,
        index: AttemptIndex,
        clock: Clock,
        catch_up: Callable[[frozenset[int]], Awaitable[None]],
    ) -> None:
        """Begin with no calls.

        Args:
            owner: This process: its slot or service, a dot, and what is unique to its run.
            holds_slot: Whether it holds its slot by a lock.
            index: What the attempt log says.
            clock: The time.
            catch_up: Brings the index up to the ends of these partitions of the attempt log.
        """
        self.owner = owner
        self.index = index
        self._holds_slot = holds_slot
        self._clock = clock
        self._catch_up = catch_up
        self._serving: dict[str, int] = {}
        self._calls: Counter[int] = Counter()
        self._starting: Counter[Partition] = Counter()
        self._lost: set[Partition] = set()
        self._parked: Counter[int] = Counter()
        self._waiting = 0
        self._round: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._heard_s = clock.monotonic_s()

    # -- partitions ------------------------------------------------------------------------------

    def regain(self, partitions: Iterable[Partition]) -> None:
        """These partitions are ours."""
        self._lost.difference_update(partitions)

    async def release(self, partitions: frozenset[Partition]) -> None:
        """These partitions go to somebody else, who will read what of them has started by then."""
        self._lost.update(partitions)
        until_s = self._clock.monotonic_s() + _RELEASE_S
        while any(self._starting[it] for it in partitions):
            if self._clock.monotonic_s() > until_s:
                _LOG.warning("a partition goes while calls of it are about to start")
                return
            await asyncio.sleep(0.005)

    def is_ours(self, work: OpenRecord[RequestBatch]) -> bool:
        """Whether a record's partition has not gone to somebody else."""
        return (work.topic, work.partition) not in self._lost

    # -- calls of this process -------------------------------------------------------------------

    def take(self, work: OpenRecord[RequestBatch], requests: Sequence[InferenceRequested]) -> None:
        """This process serves requests from now on, until ``leave``."""
        self._calls[work.partition] += 1
        for request in requests:
            self._serving[request.request_id] = self._serving.get(request.request_id, 0) + 1

    def begin(
        self,
        work: OpenRecord[RequestBatch],
        requests: Sequence[InferenceRequested],
        attempts: Sequence[int],
    ) -> None:
        """The first call for them follows at once; their partition is not let go before."""
        self._starting[work.topic, work.partition] += 1
        for request, attempt in zip(requests, attempts, strict=True):
            self._note_start(request, attempt)

    def leave(
        self,
        work: OpenRecord[RequestBatch],
        requests: Sequence[InferenceRequested],
        *,
        has_started: bool,
    ) -> None:
        """It serves them no more."""
        self._calls[work.partition] -= 1
        if not has_started:
            self._starting[work.topic, work.partition] -= 1
        for request in requests:
            left = self._serving.pop(request.request_id) - 1
            if left:
                self._serving[request.request_id] = left
        if self._waiting:
            self._ended.set()
            self._ended = asyncio.Event()

    async def start(
        self,
        work: OpenRecord[RequestBatch],
        requests: Sequence[InferenceRequested],
        attempts: Sequence[int],
        target: Target,
        *,
        is_first: bool,
    ) -> None:
        """Say that a call is about to be made; returns when that is acknowledged."""
        now_ms = self._clock.now_ms()
        sent = []
        for request, attempt in zip(requests, attempts, strict=True):
            self._note_start(request, attempt)
            emit = records.started(
                request,
                target,
                owner=self.owner,
                attempt=attempt,
                batch_id=work.event.batch_id,
                now_ms=now_ms,
            )
            sent.append(await work.emit(emit))
        for request, attempt, one in zip(requests, attempts, sent, strict=True):
            written = await acknowledged(one)
            self._note_start(request, attempt, offset=written.offset)
        self._heard_s = self._clock.monotonic_s()
        if is_first:
            self._starting[work.topic, work.partition] -= 1

    def put_off(self, request: InferenceRequested, *, attempts: int) -> None:
        """No further call is made for a request now: it comes again by another record.

        Args:
            request: The request.
            attempts: Number of calls made for it.
        """
        self.index.put_off(request.request_id, attempts=attempts)

    def remember(self, request: InferenceRequested, *, attempts: int) -> None:
        """A request is about to be ended without another call than those made before."""
        if self.index.find(request.request_id) is None:
            self._note_start(request, attempts)

    @property
    def is_believed(self) -> bool:
        """Whether others still take this process for alive, so that it may call again."""
        return self._clock.monotonic_s() - self._heard_s < SILENCE_S - 1

    def _note_start(self, request: InferenceRequested, attempt: int, *, offset: int = -1) -> None:
        self.index.start(
            request.request_id,
            attempt=attempt,
            owner=self.owner,
            due_ms=request.deadline_at or self._clock.now_ms() + _NO_DEADLINE_MS,
            offset=offset,
        )

    async def beat(self, send: Callable[[Emit], Awaitable[object]]) -> None:
        """Say every two seconds, until cancelled, that this process is alive where it has calls.

        Args:
            send: Writes a record; returns when it is acknowledged.
        """
        while True:
            await asyncio.sleep(ALIVE_EVERY_S)
            now_ms = self._clock.now_ms()
            partitions = [number for number, calls in self._calls.items() if calls]
            await asyncio.gather(
                *(
                    send(records.alive(owner=self.owner, partition=number, now_ms=now_ms))
                    for number in partitions
                )
            )
            self._heard_s = self._clock.monotonic_s()
            self.index.forget(now_ms=now_ms)

    # -- calls of others -------------------------------------------------------------------------

    def find(self, request_id: str) -> OpenAttempt | Ended | None:
        """What is known of a request."""
        return self.index.find(request_id)

    def owner_is_gone(self, request_id: str, known: OpenAttempt) -> bool:
        """Whether nobody is at a request any more."""
        return is_gone(
            known.owner,
            own=self.owner,
            holds_slot=self._holds_slot,
            is_serving=request_id in self._serving,
            is_silent=self.index.is_silent(
                known.owner, now_ms=self._clock.now_ms(), now_s=self._clock.monotonic_s()
            ),
        )

    async def news(self, request_id: str, partition: int) -> None:
        """Return when something may have become of a request that somebody is at.

        Raises:
            Unavailable: The log does not answer. Retriable.
        """
        if request_id in self._serving:
            await self._one_ended()
            return
        self._parked[partition] += 1
        try:
            if self._round is None or self._round.done():
                self._round = asyncio.ensure_future(self._look())
            await asyncio.shield(self._round)
        finally:
            self._parked[partition] -= 1

    async def catch_up(self, partition: int) -> bool:
        """Learn what others have said of a partition by now; returns True.

        Raises:
            Unavailable: The log does not answer. Retriable.
        """
        await self._catch_up(frozenset({partition}))
        return True

    async def at_rest(self) -> None:
        """Return once this process serves nothing."""
        while self._serving:
            await self._one_ended()

    async def _one_ended(self) -> None:
        self._waiting += 1
        try:
            await self._ended.wait()
        finally:
            self._waiting -= 1

    async def _look(self) -> None:
        await asyncio.sleep(_LOOK_AGAIN_S)
        await self._catch_up(frozenset(+self._parked))
