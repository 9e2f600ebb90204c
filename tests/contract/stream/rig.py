"""Runs stages with small processors on a backend, for tests of the runtime."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from services.shared.codec.headers import REQUEST_ID, TENANT
from services.shared.codec.records import RECORDS, decode_record, encode_record
from services.shared.codec.topics import packaged_topics
from services.shared.domain.emit import Emit
from services.shared.domain.events import (
    CacheMissed,
    Event,
    InferenceFinished,
    InferenceRequested,
    RequestBatch,
    RequestRouted,
)
from services.shared.domain.topics import BATCH_TOPICS, RETRY_TOPICS, Topic, dead_letters
from services.shared.stream.client import Raw
from services.shared.stream.lanes import PoolLimits
from services.shared.stream.loop import Process
from services.shared.stream.slots import Slot
from services.shared.stream.stage import Stage, Tools
from services.shared.stream.work import Work
from tests.support.example_events import batch, missed, requested, routed
from tests.support.log_backend import LogBackend
from tests.support.memory_partition import Headers
from tests.support.pipeline import StageProcess, default_headers

GROUP = "probe"
IN = Topic.CACHE_MISSES
OUT = Topic.ROUTED_REQUESTS
DLQ = dead_letters(IN)
RESULTS = Topic.INFERENCE_RESULTS
CHUNKS = Topic.RESULT_CHUNKS
_REPLY_PARTITIONS = 2
_DEADLINE_MS = 60_000
_PATIENCE_S = 20.0

AnyProcess = Process[Any]


def stage_of(
    process: AnyProcess,
    *,
    topics: Sequence[Topic] = (IN,),
    delayed: Sequence[Topic] = (),
    records: int = 2000,
    size_bytes: int = 64 * 1024 * 1024,
    drain_s: float = 8.0,
    leaves_first: bool = False,
) -> Stage:
    """A stage around a process function."""

    @asynccontextmanager
    async def build(_tools: Tools) -> AsyncIterator[AnyProcess]:
        yield process

    limits = PoolLimits(records=records, size_bytes=size_bytes)
    return Stage(
        service=GROUP,
        topics=topics,
        delayed=delayed,
        build=build,
        limits=limits,
        drain_s=drain_s,
        leaves_first=leaves_first,
    )


def answer(work: Work[CacheMissed]) -> Emit:
    """What the processors of these tests emit for a miss: the request, routed."""
    request = work.event.request
    return Emit(
        topic=OUT, key=request.request_id, event=routed(request=request, hops=()), request=request
    )


async def answer_all(works: Sequence[Work[CacheMissed]]) -> None:
    """The simplest processor: answers at once."""
    for work in works:
        await work.emit(answer(work))
        work.finish()


class Keeper:
    """A processor that keeps records open until the test lets them go.

    Attributes:
        open: What it keeps, by the number of the request.
        seen: Every record that it was given, in order, by number.
        most: The most that were open at once.
        most_bytes: Their bytes.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.open: dict[int, Work[CacheMissed]] = {}
        self.seen: list[int] = []
        self.most = 0
        self.most_bytes = 0

    async def __call__(self, works: Sequence[Work[Any]]) -> None:
        """Keep them."""
        for work in works:
            number = number_of(work.event)
            self.open[number] = work
            self.seen.append(number)
        self.most = max(self.most, len(self.open))
        held = sum(len(work.value) for work in self.open.values())
        self.most_bytes = max(self.most_bytes, held)

    async def let_go(self, *numbers: int) -> None:
        """Answer records and finish them."""
        for number in numbers:
            work = self.open.pop(number)
            if isinstance(work.event, CacheMissed):
                await work.emit(answer(work))
            work.finish()


def number_of(event: Event) -> int:
    """The number of the request that an event is about."""
    match event:
        case InferenceRequested() | InferenceFinished():
            request_id = event.request_id
        case CacheMissed() | RequestRouted():
            request_id = event.request.request_id
        case RequestBatch():
            request_id = event.members[0].request.request_id
        case _:
            raise AssertionError(event)
    return int(request_id.removeprefix("request-"))


class Rig:
    """A backend with the pipeline's topics and processes of a stage.

    Attributes:
        backend: The cluster.
        processes: All that were started.
    """

    def __init__(self, backend: LogBackend) -> None:
        """Start without processes."""
        self.backend = backend
        self.processes: list[StageProcess] = []

    async def make_topics(self, *, partitions: int = 1) -> None:
        """Make every topic that the tests use."""
        specs = packaged_topics()
        read = (IN, OUT, Topic.INFERENCE_REQUESTS_P0, *BATCH_TOPICS, RETRY_TOPICS[0])
        used = [RESULTS, *read, *(specs[topic].dlq for topic in read)]
        counts = dict.fromkeys(used, partitions)
        counts |= {CHUNKS: _REPLY_PARTITIONS, Topic.CRASH_SUSPECTS: 1}
        await self.backend.make_topics(counts)

    async def start(self, stage: Stage, *, slots: Path | None = None) -> StageProcess:
        """Start a process of a stage; returns when it has joined its groups."""
        process = self.prepare(stage, slots=slots)
        await process.until_running()
        return process

    def prepare(self, stage: Stage, *, slots: Path | None = None) -> StageProcess:
        """Start a process of a stage."""
        slot = None
        clock = self.backend.clock
        if slots is not None:
            slot = Slot.hold(data=slots, service=stage.service, ordinal=0, now_ms=clock.now_ms())
        process = StageProcess(
            stage,
            self.backend.connect(),
            clock=clock,
            slot=slot,
            session_timeout_s=self.backend.session_timeout_s,
        )
        self.processes.append(process)
        return process

    # -- input -----------------------------------------------------------------------------------

    def request(self, number: int, **changes: Any) -> InferenceRequested:
        """A request that was accepted now and is due in a minute."""
        now = int(self.backend.clock.now_ms())
        times = {"accepted_at": now, "deadline_at": now + _DEADLINE_MS}
        return requested(number, **{**times, **changes})

    def miss(self, number: int, **changes: Any) -> CacheMissed:
        """A miss of such a request."""
        return missed(number, request=self.request(number, **changes))

    def batch(self, *numbers: int, **changes: Any) -> RequestBatch:
        """A batch of such requests, named after the first one."""
        members = [routed(n, request=self.request(n, **changes)) for n in numbers]
        return batch(*members, batch_id=f"batch-{numbers[0]}")

    async def pipe(self, *events: Event, topic: str = IN, partition: int = 0) -> None:
        """Write events as their real producers would."""
        for event in events:
            value = encode_record(event)
            await self.pipe_raw(
                value,
                topic=topic,
                key=_key(event),
                headers=default_headers(event, value),
                partition=partition,
            )

    async def pipe_raw(
        self,
        value: bytes | None,
        *,
        topic: str = IN,
        key: bytes | None = None,
        headers: Headers = (),
        partition: int = 0,
    ) -> int:
        """Write bytes; returns their offset."""
        return await self.backend.append(
            topic, value, key=key, headers=headers, partition=partition
        )

    # -- output ----------------------------------------------------------------------------------

    async def numbers(self, topic: str = OUT) -> list[int]:
        """Numbers of the requests whose records a topic has, in order."""
        return [number_of(event) for event in await self.events(topic)]

    async def events(self, topic: str) -> list[Event]:
        """The events of a topic."""
        event_type = RECORDS[packaged_topics()[topic].record]
        records = await self.backend.records(topic)
        return [decode_record(raw.value or b"", event_type) for raw in records]

    async def dead_letters(self, topic: str = IN) -> list[Raw]:
        """The dead letters of a topic."""
        return await self.backend.records(dead_letters(topic))

    async def committed(self, topic: str = IN, *, group: str = GROUP, partition: int = 0) -> int:
        """What the stage has committed; 0 when nothing."""
        return await self.backend.committed(group, topic, partition=partition) or 0

    async def until_committed(self, offset: int, topic: str = IN, *, group: str = GROUP) -> None:
        """Wait for a commit; fails early with what ended a process."""

        async def is_committed() -> bool:
            self.check()
            return await self.committed(topic, group=group) == offset

        await self.backend.until(is_committed, timeout_s=_PATIENCE_S)

    async def until(self, condition: Callable[[], bool | Awaitable[bool]]) -> None:
        """Wait for a condition; fails early with what ended a process."""

        def is_true() -> bool | Awaitable[bool]:
            self.check()
            return condition()

        await self.backend.until(is_true, timeout_s=_PATIENCE_S)

    async def let_pass(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)
        self.check()

    def check(self) -> None:
        """Raise what ended a process that nobody ended."""
        for process in self.processes:
            if not process.is_killed and not process.runtime.stopping.is_set():
                process.check()


def _key(event: Event) -> bytes:
    if isinstance(event, RequestBatch):
        return event.batch_id.encode()
    request = event.request if isinstance(event, CacheMissed | RequestRouted) else event
    return str(getattr(request, "request_id", "")).encode()


def headers_without(headers: Headers, *names: str) -> list[tuple[str, bytes]]:
    """Headers but these."""
    return [(name, value) for name, value in headers if name not in names]


def headers_with(headers: Headers, name: str, value: bytes) -> list[tuple[str, bytes]]:
    """Headers with one that says something else."""
    return [*headers_without(headers, name), (name, value)]


def unchanged(event: Event, **changes: Any) -> Event:
    """An event with changed fields."""
    return msgspec.structs.replace(event, **changes)


def names(headers: Iterable[tuple[str, bytes]]) -> list[str]:
    """Names of headers."""
    return [name for name, _ in headers]


IDENTITY_HEADERS = (REQUEST_ID, TENANT)
