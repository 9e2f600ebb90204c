"""A dead-letter topic that takes no records: the stage waits with the record, and loses nothing."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from services.shared.domain.emit import Emit
from services.shared.domain.topics import Topic, dead_letters
from services.shared.stream.loop import Process
from services.shared.stream.stage import Stage, Tools
from services.shared.stream.work import Work
from tests.support.example_events import missed, requested, routed
from tests.support.pipeline import Pipeline, StageProcess

_IN = Topic.CACHE_MISSES
_OUT = Topic.ROUTED_REQUESTS
_DLQ = dead_letters(_IN)
_GROUP = "probe"
_A_WHILE_S = 60.0


async def _pass_on(works: Sequence[Work[Any]]) -> None:
    for work in works:
        request = work.event.request
        event = routed(request=request, hops=())
        await work.emit(Emit(topic=_OUT, key=request.request_id, event=event, request=request))
        work.finish()


@asynccontextmanager
async def _build(_tools: Tools) -> AsyncIterator[Process[Any]]:
    yield _pass_on


_STAGE = Stage(service=_GROUP, topics=(_IN,), build=_build)


def _pipe_good(pipeline: Pipeline, number: int) -> None:
    deadline_at = int(pipeline.clock.now_ms()) + 3_600_000
    pipeline.pipe_input(_IN, missed(number, request=requested(number, deadline_at=deadline_at)))


def _is_ready(process: StageProcess) -> bool:
    return process.runtime.is_ready


async def test_a_stage_whose_dead_letters_cannot_be_written_stops_and_says_so(
    pipeline: Pipeline,
) -> None:
    """Nothing from the poison record on is committed, nothing more is taken, it is not ready.

    Once the topic takes records again, all is done, each once.
    """
    process = await pipeline.start(_STAGE)
    pipeline.cluster.unwritable.add(_DLQ)
    _pipe_good(pipeline, 1)
    await pipeline.run_until_quiet()
    pipeline.pipe_raw(_IN, b"no record", key=b"k")
    await pipeline.advance(1.0)
    _pipe_good(pipeline, 2)
    await pipeline.advance(_A_WHILE_S)
    assert pipeline.committed(_GROUP, _IN) == 1
    assert not _is_ready(process)
    assert process.runtime.is_alive
    assert len(pipeline.read_records(_OUT)) == 1
    assert pipeline.read_records(_DLQ) == []

    pipeline.cluster.unwritable.clear()
    await pipeline.run_until_quiet()
    await pipeline.advance(1.0)
    assert pipeline.committed(_GROUP, _IN) == 3
    assert _is_ready(process)
    assert len(pipeline.read_records(_OUT)) == 1
    assert len(pipeline.read_records(_DLQ)) == 1


async def test_a_stage_that_ends_meanwhile_leaves_the_record_to_the_next(
    pipeline: Pipeline,
) -> None:
    """A stop does not wait for ever, and the poison record is read again."""
    process = await pipeline.start(_STAGE)
    pipeline.cluster.unwritable.add(_DLQ)
    pipeline.pipe_raw(_IN, b"no record", key=b"k")
    await pipeline.advance(_A_WHILE_S)
    await process.stop()
    assert pipeline.committed(_GROUP, _IN) is None

    pipeline.cluster.unwritable.clear()
    await pipeline.start(_STAGE)
    await pipeline.run_until_quiet()
    await pipeline.advance(1.0)
    assert len(pipeline.read_records(_DLQ)) == 1
    assert pipeline.committed(_GROUP, _IN) == 1


async def test_much_poison_in_a_row_does_not_look_like_that(pipeline: Pipeline) -> None:
    """A stage that gives records up at the speed of the log stays ready."""
    process = await pipeline.start(_STAGE)
    pipeline.cluster.ack_delay_s = 2.0
    for round_ in range(10):
        pipeline.pipe_raw(_IN, b"no record", key=b"%d" % round_)
        await pipeline.advance(1.0)
        assert _is_ready(process)
    await pipeline.run_until_quiet()
    assert len(pipeline.read_records(_DLQ)) == 10
