"""A model caller that is told to stop makes its calls to their ends; others go on at once."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from services.shared.domain.errors import InvalidConfiguration
from services.shared.domain.topics import Topic
from tests.pipeline.journeys.test_paid_once import Trip
from tests.pipeline.journeys.travel import text_of
from tests.support.example_events import request_id
from tests.support.pipeline import StageProcess, running_pipeline
from tests.support.scripted_provider import (
    ENDING,
    Asked,
    Script,
    ScriptedProvider,
    piece,
    streamed,
    whole,
)
from tests.support.stages import publish

_WORDS = 12
_NUMBERS = range(1, 9)


def for_long(asked: Asked) -> Script:
    """A stream of a word a second, or a whole answer after nine seconds."""
    if asked.body.get("stream"):
        words = (frame for i in range(_WORDS) for frame in (piece(f"{i} "), 1.0))
        return streamed(*words, *ENDING)
    return whole(frames=[9.0])


def publish_many(trip: Trip) -> None:
    """Ask for streams and whole answers by turns."""
    for number in _NUMBERS:
        request = trip.streaming(number) if number % 2 else trip.request(number)
        publish(trip.pipeline, request, partition=number % 2)


async def check(trip: Trip, numbers: range = _NUMBERS) -> None:
    """Every request was called for once, by one process, and answered whole, by no guess."""
    await trip.pipeline.run_until_quiet()
    started = Counter(it.request_id for it in trip.attempts() if it.kind == "started")
    assert started == dict.fromkeys(map(request_id, numbers), 1)
    assert len(trip.first.asked) == len(numbers)
    assert trip.second.asked == []
    words = "".join(f"{i} " for i in range(_WORDS))
    for number in numbers:
        assert trip.end_of(request_id(number)).outcome == "completed"
        if number % 2:
            assert text_of(trip.seen(trip.streaming(number))) == words
    assert {row.kind for row in trip.ledger().values()} == {"attempt"}
    assert trip.pipeline.cluster.records(f"{Topic.REQUEST_BATCHES_P0}-dlq") == []


async def begin_to_stop(trip: Trip, process: StageProcess) -> "asyncio.Future[None]":
    """Tell a process to stop with calls in flight; it is at them for some seconds more."""
    await trip.pipeline.advance(2.0)
    assert process.runtime.in_flight
    stopping = asyncio.ensure_future(process.stop())
    await trip.pipeline.advance(1.0)
    assert not stopping.done()
    assert process.runtime.assignment() == frozenset()
    return stopping


async def test_one_of_two_stops(tmp_path: Path) -> None:
    """The other one takes all partitions, keeps new requests going, and calls nobody again."""
    async with running_pipeline(partitions=2) as pipeline:
        trip = Trip(pipeline, first=ScriptedProvider(for_long))
        await trip.start(slots=tmp_path)
        other = await pipeline.start(trip.stages.model_caller, slots=tmp_path, ordinal=1)
        publish_many(trip)
        stopping = await begin_to_stop(trip, trip.callers[0])
        assert {it.partition for it in other.runtime.assignment()} == {0, 1}
        late = trip.streaming(_NUMBERS.stop)
        publish(pipeline, late)
        await pipeline.advance(1.0)
        assert any(it.kind == "delta" for it in trip.seen(late)), "new requests wait for nobody"
        assert not stopping.done()
        await stopping
        await check(trip, range(1, _NUMBERS.stop + 1))


async def test_the_only_one_is_replaced_after_its_end(tmp_path: Path) -> None:
    """Its successor in the slot finds every call finished, and repeats the ends alone."""
    async with running_pipeline(partitions=2) as pipeline:
        trip = Trip(pipeline, first=ScriptedProvider(for_long))
        await trip.start(slots=tmp_path)
        publish_many(trip)
        stopping = await begin_to_stop(trip, trip.callers[0])
        with pytest.raises(InvalidConfiguration, match="is in use"):
            await pipeline.start(trip.stages.model_caller, slots=tmp_path)
        await stopping
        await pipeline.start(trip.stages.model_caller, slots=tmp_path)
        await check(trip)


async def test_nobody_waits_for_calls_of_others(tmp_path: Path) -> None:
    """A process that serves nothing itself ends at once, also with requests parked."""
    async with running_pipeline(partitions=2) as pipeline:
        trip = Trip(pipeline, first=ScriptedProvider(for_long))
        await trip.start(slots=tmp_path)
        publish_many(trip)
        stopping = await begin_to_stop(trip, trip.callers[0])
        other = await pipeline.start(trip.stages.model_caller, slots=tmp_path, ordinal=1)
        await pipeline.advance(1.0)
        assert other.runtime.in_flight
        async with asyncio.timeout(2.0):
            await other.stop()
        assert not stopping.done()
        await stopping
        await pipeline.start(trip.stages.model_caller, slots=tmp_path)
        await check(trip)
