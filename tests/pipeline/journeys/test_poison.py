"""A record that can never be processed, on each topic: one dead letter, and the rest goes on."""

from collections.abc import Callable

import msgspec
import pytest

from services.shared.codec.headers import CRC32C, REPLY, REQUEST_ID, TENANT
from services.shared.codec.records import encode_record
from services.shared.domain.events import Event
from services.shared.domain.topics import Topic
from tests.pipeline.journeys.travel import Travel
from tests.support.example_events import batch, finished, missed, request_id, requested, routed
from tests.support.pipeline import Pipeline, default_headers

GARBAGE = b"\0\0\0\0\x63garbage"

EVENTS: dict[str, Callable[[], Event]] = {
    Topic.INFERENCE_REQUESTS_P0: lambda: requested(7, key_id=""),
    Topic.INFERENCE_REQUESTS_P1: lambda: requested(7, key_id=""),
    Topic.INFERENCE_REQUESTS_P2: lambda: requested(7, key_id=""),
    Topic.CACHE_MISSES: lambda: missed(7, request=requested(7, reply_partition=3)),
    Topic.ROUTED_REQUESTS: lambda: routed(7, request=requested(7, reply_partition=3)),
    Topic.REQUEST_BATCHES_P0: lambda: batch(routed(7, request=requested(7, reply_partition=3))),
    Topic.REQUEST_BATCHES_P1: lambda: batch(routed(7, request=requested(7, reply_partition=3))),
    Topic.REQUEST_BATCHES_P2: lambda: batch(routed(7, request=requested(7, reply_partition=3))),
    Topic.INFERENCE_RESULTS: lambda: finished(7),
}
"""Topics that a stage reads, and a good record of each."""

READERS = {topic: 2 if topic == Topic.INFERENCE_RESULTS else 1 for topic in EVENTS}
"""Groups of ours on a topic: each gives a poison record up by itself."""


def letters(pipeline: Pipeline, topic: str) -> int:
    """How many dead letters a topic has."""
    return len(pipeline.cluster.records(f"{topic}-dlq"))


async def check_that_requests_go_on(travel: Travel) -> None:
    """A good request is still answered."""
    await travel.ask(*(travel.request(number, priority=number % 3) for number in range(10, 13)))
    for number in range(10, 13):
        assert travel.end_of(request_id(number)).outcome == "completed"


@pytest.mark.parametrize("topic", EVENTS)
async def test_bytes_that_are_no_record(pipeline: Pipeline, topic: str) -> None:
    """The dead letter has the bytes untouched."""
    travel = Travel(pipeline)
    await travel.start()
    pipeline.pipe_raw(topic, GARBAGE, key=b"anything")
    await pipeline.run_until_quiet()
    assert letters(pipeline, topic) == READERS[topic]
    assert {it.value for it in pipeline.cluster.records(f"{topic}-dlq")} == {GARBAGE}
    assert travel.ends() == []
    await check_that_requests_go_on(travel)
    assert letters(pipeline, topic) == READERS[topic]


@pytest.mark.parametrize("topic", EVENTS)
async def test_a_value_that_was_changed_on_its_way(pipeline: Pipeline, topic: str) -> None:
    """Its checksum does not fit; what it says is not acted on."""
    travel = Travel(pipeline)
    await travel.start()
    event = EVENTS[topic]()
    value = encode_record(event)
    headers = [
        (name, b"00000000" if name == CRC32C else content)
        for name, content in default_headers(event, value)
    ]
    pipeline.pipe_raw(topic, value, key=b"anything", headers=headers)
    await pipeline.run_until_quiet()
    assert letters(pipeline, topic) == READERS[topic]
    assert travel.first.asked == []
    await check_that_requests_go_on(travel)


@pytest.mark.parametrize("topic", [Topic.CACHE_MISSES, Topic.ROUTED_REQUESTS])
async def test_who_waits_for_an_unreadable_record_is_told(pipeline: Pipeline, topic: str) -> None:
    """As far as the headers of an internal record say who that is."""
    travel = Travel(pipeline)
    await travel.start()
    headers = [(REQUEST_ID, request_id(7).encode()), (TENANT, b"acme"), (REPLY, b"3")]
    pipeline.pipe_raw(topic, GARBAGE, key=request_id(7).encode(), headers=headers)
    await pipeline.run_until_quiet()
    ended = travel.end_of(request_id(7))
    assert ended.error is not None
    assert (ended.error.code, ended.tenant) == ("poison_record", "acme")
    (chunk,) = travel.chunks_of(request_id(7))
    assert (chunk.kind, chunk.status) == ("error", 500)
    assert letters(pipeline, Topic.INFERENCE_RESULTS) == 0
    await check_that_requests_go_on(travel)


@pytest.mark.parametrize("topic", EVENTS)
async def test_headers_that_contradict_the_record(pipeline: Pipeline, topic: str) -> None:
    """One of the two lies; where a request can be read, it ends."""
    travel = Travel(pipeline)
    await travel.start()
    event = EVENTS[topic]()
    value = encode_record(event)
    lies = {TENANT: b"other"}
    headers = [(name, lies.get(name, content)) for name, content in default_headers(event, value)]
    is_batch = topic.startswith("request-batches")
    key = b"not its id" if is_batch else request_id(7).encode()
    pipeline.pipe_raw(topic, value, key=key, headers=headers)
    await pipeline.run_until_quiet()
    assert letters(pipeline, topic) == READERS[topic]
    assert travel.first.asked == []
    if topic != Topic.INFERENCE_RESULTS:
        ended = travel.end_of(request_id(7))
        assert ended.error is not None
        assert ended.error.code == "poison_record"
    await check_that_requests_go_on(travel)


async def test_a_member_whose_body_no_call_can_be_made_of(pipeline: Pipeline) -> None:
    """The batch is given up as a whole; its requests end; the next batch is served."""
    travel = Travel(pipeline)
    await travel.start()
    broken = requested(7, operation="embeddings", body=b"{", reply_partition=3)
    event = batch(routed(7, request=broken), merge=True)
    pipeline.pipe_input(Topic.REQUEST_BATCHES_P0, event)
    await pipeline.run_until_quiet()
    assert letters(pipeline, Topic.REQUEST_BATCHES_P0) == 1
    ended = travel.end_of(request_id(7))
    assert ended.error is not None
    assert ended.error.code == "poison_record"
    await check_that_requests_go_on(travel)


async def test_an_end_without_an_operation_spoils_no_reader(pipeline: Pipeline) -> None:
    """A request that nobody could read ends too; cache and traces pass it over."""
    travel = Travel(pipeline)
    await travel.start()
    event = msgspec.structs.replace(finished(7), operation="", hops=())
    pipeline.pipe_input(Topic.INFERENCE_RESULTS, event)
    await pipeline.run_until_quiet()
    assert letters(pipeline, Topic.INFERENCE_RESULTS) == 0
