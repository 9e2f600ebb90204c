"""What a stage of the pipeline is to the runtime."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from services.shared.codec.records import RECORDS
from services.shared.codec.topics import packaged_topics
from services.shared.domain.topics import Topic
from services.shared.ports.clock import Clock
from services.shared.stream.assignments import AssignmentWatcher
from services.shared.stream.client import Log
from services.shared.stream.lanes import PoolLimits
from services.shared.stream.loop import Process
from services.shared.stream.outbox import Outbox
from services.shared.stream.source import Source


class Tools(msgspec.Struct, frozen=True):
    """What the runtime lends to a processor while it is built.

    Attributes:
        clock: The time.
        registry: Where its own metrics go.
        log: To read topics with.
        outbox: To write records that belong to no record in work.
        hold_lane: Pauses (True) or resumes a lane of the stage, as ``(lane, is_held)``.
        watch: Has an ``AssignmentWatcher`` told of every assignment.
        slot: Name of the slot that this process holds; None = it holds none.
        tell: Has ``/health`` say how a part of the process is: its name, and what says it.
    """

    clock: Clock
    registry: CollectorRegistry
    log: Log
    outbox: Outbox
    hold_lane: Callable[[int, bool], None]
    watch: Callable[[AssignmentWatcher], None]
    slot: str | None
    tell: Callable[[str, Callable[[], str]], None]


Build = Callable[[Tools], AbstractAsyncContextManager[Process[Any]]]


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A stage of the pipeline.

    Attributes:
        service: Its name: consumer group, metrics, logs.
        topics: What it reads; several are lanes, most urgent first.
        delayed: Topics of records that were put off; each is read in a group of its own name, and
            shares the slots of the least urgent lane.
        build: Makes its processor and whatever that needs, and takes it down again.
        limits: Records and bytes in work at most.
        drain_s: Time that open records get at shutdown, seconds.
        leaves_first: At shutdown it leaves its groups before its open records are finished: for
            records that take long, and whose next reader can tell that somebody is at them.
        pause_s: Rest after each poll that brought records, seconds; for stages that nobody waits
            for.
    """

    service: str
    topics: Sequence[Topic]
    build: Build
    limits: PoolLimits = PoolLimits(records=2000, size_bytes=256 * 1024 * 1024)
    drain_s: float = 8.0
    leaves_first: bool = False
    pause_s: float = 0.0
    delayed: Sequence[Topic] = ()


def sources_of(stage: Stage) -> list[Source]:
    """What a stage's loops read: its topics, each in a group of its own where there are lanes.

    Lanes do not share a group because every join of one member would make the others rejoin.
    """
    lanes = len(stage.topics) > 1
    sources = [
        _source(
            stage, topic, group=f"{stage.service}-p{lane}" if lanes else stage.service, lane=lane
        )
        for lane, topic in enumerate(stage.topics)
    ]
    last = len(stage.topics) - 1
    sources += [
        _source(stage, topic, group=topic, lane=last, is_delayed=True) for topic in stage.delayed
    ]
    return sources


def _source(
    stage: Stage, topic: Topic, *, group: str, lane: int, is_delayed: bool = False
) -> Source:
    spec = packaged_topics()[topic]
    return Source(
        topic=topic,
        event_type=RECORDS[spec.record],
        group=group,
        lane=lane,
        is_public=spec.is_public,
        dlq=spec.dlq,
        pause_s=stage.pause_s,
        is_delayed=is_delayed,
    )
