"""Following the results without a group, and finding what was on its way before."""

import asyncio
from collections.abc import AsyncIterator, Sequence, Set
from contextlib import asynccontextmanager

from services.shared.codec.records import encode_record
from services.shared.domain.events import CacheMissed
from services.shared.domain.topics import Topic
from services.shared.stream.client import Reader, TopicPartition
from services.shared.stream.result_follower import HORIZON_MS, ResultFollower
from tests.support.example_events import missed, request_id
from tests.support.log_backend import LogBackend

PARTITIONS = 2
PLACE = TopicPartition(Topic.INFERENCE_REQUESTS_P0, 0)


class Ears:
    """A listener that writes everything down.

    Attributes:
        leaders: What it wants to hear of.
        is_anybody_waiting: Set when it is in a hurry.
        heard: Keys and values of results.
        running: Requests found on their way, in order.
        over_before: Keys of results of before.
    """

    def __init__(self, *leaders: bytes) -> None:
        """Want to hear of these."""
        self.leaders = set(leaders)
        self.is_anybody_waiting = asyncio.Event()
        self.is_anybody_waiting.set()
        self.heard: list[tuple[bytes, bytes]] = []
        self.running: list[str] = []
        self.over_before: set[bytes] = set()
        self.looks = 0

    async def ended(self, key: bytes, value: bytes) -> None:
        """See ``Listener``."""
        self.heard.append((key, value))

    def over(self, keys: Set[bytes]) -> None:
        """See ``Listener``."""
        self.over_before |= keys

    def found(self, missed: Sequence[CacheMissed]) -> None:
        """See ``Listener``."""
        self.looks += 1
        self.running += [miss.request.request_id for miss in missed]


@asynccontextmanager
async def follower_of(backend: LogBackend, ears: Ears) -> AsyncIterator[ResultFollower]:
    """A follower that runs."""
    follower = ResultFollower(
        backend.connect(), ears, partition_count=lambda _: PARTITIONS, clock=backend.clock
    )
    following = asyncio.ensure_future(follower.follow())
    try:
        yield follower
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def make_topics(backend: LogBackend) -> None:
    """The two topics that it reads."""
    await backend.make_topics(
        dict.fromkeys((Topic.INFERENCE_RESULTS, Topic.CACHE_MISSES), PARTITIONS)
    )


async def miss(backend: LogBackend, number: int, *, ago_ms: int = 0) -> None:
    """Write that a request was passed on."""
    await backend.append(
        Topic.CACHE_MISSES,
        encode_record(missed(number)),
        key=request_id(number).encode(),
        partition=number % PARTITIONS,
        timestamp_ms=int(backend.clock.now_ms()) - ago_ms,
    )


async def end(
    backend: LogBackend, number: int, value: bytes = b"an end", *, ago_ms: int = 0
) -> None:
    """Write that a request has ended."""
    await backend.append(
        Topic.INFERENCE_RESULTS,
        value,
        key=request_id(number).encode(),
        partition=number % PARTITIONS,
        timestamp_ms=int(backend.clock.now_ms()) - ago_ms,
    )


async def test_it_hands_on_what_is_asked_for_alone(backend: LogBackend) -> None:
    """By key, from every partition, undecoded; what has no key or value is passed over."""
    await make_topics(backend)
    await end(backend, 1, b"before")
    ears = Ears(request_id(1).encode(), request_id(2).encode())
    async with follower_of(backend, ears) as follower:
        await follower.look_back()
        await end(backend, 3)
        await backend.append(Topic.INFERENCE_RESULTS, b"no key")
        await backend.append(Topic.INFERENCE_RESULTS, None, key=request_id(2).encode())
        await end(backend, 2, b"two")
        await end(backend, 1, b"one")
        await backend.until(lambda: len(ears.heard) == 2)
    assert sorted(ears.heard) == [
        (request_id(1).encode(), b"one"),
        (request_id(2).encode(), b"two"),
    ]


async def test_it_finds_what_is_on_its_way(backend: LogBackend) -> None:
    """Misses of the last two minutes less results; what cannot be read is passed over."""
    await make_topics(backend)
    await miss(backend, 1, ago_ms=HORIZON_MS + 60_000)
    for number in (2, 3, 4):
        await miss(backend, number, ago_ms=1_000)
    await miss(backend, 4)  # once more
    await backend.append(
        Topic.CACHE_MISSES,
        b"garbage",
        key=b"request-garbage",
        timestamp_ms=int(backend.clock.now_ms()),
    )
    await end(backend, 3)
    ears = Ears()
    async with follower_of(backend, ears) as follower:
        await follower.look_back()
    assert sorted(ears.running) == [request_id(2), request_id(4)]


async def test_a_second_look_goes_back_to_the_first(backend: LogBackend) -> None:
    """What was found, or ended, before is not read again."""
    await make_topics(backend)
    await miss(backend, 1, ago_ms=60_000)
    ears = Ears()
    async with follower_of(backend, ears) as follower:
        await follower.look_back()
        await miss(backend, 2)
        await follower.look_back()
    assert ears.running == [request_id(1), request_id(2)]


async def test_it_finds_the_ends_that_waiting_records_may_have(backend: LogBackend) -> None:
    """Those since the oldest record that waits; none where nothing waits."""
    await make_topics(backend)
    await backend.make_topics({PLACE.topic: 2})
    other = TopicPartition(PLACE.topic, 1)
    ears = Ears()
    async with follower_of(backend, ears) as follower:
        await end(backend, 1)
        await follower.find_ends({})
        await follower.find_ends({PLACE: 0, other: 0})
        assert ears.over_before == set()
        now_ms = int(backend.clock.now_ms())
        for age_ms in (60_000, 30_000):
            await backend.append(PLACE.topic, b"waits", timestamp_ms=now_ms - age_ms)
        for number, age_ms in ((2, 100_000), (6, 65_000), (4, 1_000)):
            await end(backend, number, ago_ms=age_ms)
        await follower.find_ends({PLACE: 1, other: 0})
        assert ears.over_before == {request_id(number).encode() for number in (1, 4)}
        await follower.find_ends({PLACE: 0, other: 0})
        assert ears.over_before == {request_id(number).encode() for number in (1, 4, 6)}


async def test_an_end_during_the_look_is_an_end(backend: LogBackend) -> None:
    """A request that ends after the results were read, and before its miss is, is not running."""
    await make_topics(backend)
    await miss(backend, 1)
    ears = Ears()
    async with follower_of(backend, ears) as follower:
        read_back = follower._read_back

        async def late(reader: Reader, topic: Topic, since_ms: int) -> AsyncIterator[object]:
            if topic is Topic.CACHE_MISSES:
                await end(backend, 1)
                await backend.until(lambda: bool(follower._ended_meanwhile))
            async for raw in read_back(reader, topic, since_ms):
                yield raw

        follower._read_back = late  # type: ignore[assignment,method-assign]
        await follower.look_back()
    assert ears.running == []


async def test_it_looks_again_when_partitions_come(backend: LogBackend) -> None:
    """At the start, and when another member's become its own; not when some go."""
    await make_topics(backend)
    await backend.make_topic(PLACE.topic)
    ears = Ears()
    async with follower_of(backend, ears) as follower:
        looking = asyncio.ensure_future(follower.look_back_when_partitions_come())
        try:
            await backend.until(lambda: ears.looks == 1)
            await follower.find_ends({PLACE: 0})
            await backend.until(lambda: ears.looks == 2)
            await follower.find_ends({})
            await asyncio.sleep(1.5)
            assert ears.looks == 2
            await follower.find_ends({PLACE: 0})
            await backend.until(lambda: ears.looks == 3)
        finally:
            looking.cancel()


async def test_it_goes_on_after_an_outage(stoppable_backend: LogBackend) -> None:
    """It waits for the broker; what is written then is heard."""
    backend = stoppable_backend
    await make_topics(backend)
    ears = Ears(*(request_id(number).encode() for number in (1, 2)))
    async with follower_of(backend, ears) as follower:
        looking = asyncio.ensure_future(follower.look_back_when_partitions_come())
        await backend.until(lambda: ears.looks == 1)
        await end(backend, 1)
        await backend.until(lambda: len(ears.heard) == 1)
        async with backend.outage():
            await asyncio.sleep(3)
        await end(backend, 2)
        await backend.until(lambda: len(ears.heard) == 2)
        looking.cancel()


async def test_without_hurry_results_gather(backend: LogBackend) -> None:
    """They come within a second all the same, and at once when somebody begins to wait."""
    await make_topics(backend)
    ears = Ears(*(request_id(number).encode() for number in range(10)))
    ears.is_anybody_waiting.clear()
    async with follower_of(backend, ears) as follower:
        await follower.look_back()
        for number in range(3):
            await end(backend, number)
        await backend.until(lambda: len(ears.heard) == 3)
        ears.is_anybody_waiting.set()
        await end(backend, 3)
        await backend.until(lambda: len(ears.heard) == 4, timeout_s=5)
