"""Judgements on a log: every process hears all of them in order, and knows when it has."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from services.shared.codec.records import encode_record
from services.shared.domain.events import CandidateJudged
from services.shared.domain.topics import Topic
from services.shared.stream.judgement_log import follow_judgements
from tests.support.log_backend import LogBackend


class Heard:
    """What a process has heard.

    Attributes:
        ids: Of the records, in order.
        known_at: How many it had heard when it was told that it has caught up; None = not yet.
    """

    def __init__(self) -> None:
        """Nothing yet."""
        self.ids: list[str] = []
        self.known_at: int | None = None

    def hear(self, judged: CandidateJudged) -> None:
        """Take a record."""
        self.ids.append(judged.request_id)

    def caught_up(self) -> None:
        """Remember when."""
        assert self.known_at is None
        self.known_at = len(self.ids)


@asynccontextmanager
async def process(backend: LogBackend) -> AsyncIterator[Heard]:
    """A process that follows the topic."""
    heard = Heard()
    following = asyncio.create_task(
        follow_judgements(
            backend.connect(), partitions=1, hear=heard.hear, caught_up=heard.caught_up
        )
    )
    try:
        yield heard
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following


async def judge(backend: LogBackend, *names: str) -> None:
    """Write judgements."""
    for name in names:
        record = CandidateJudged(
            request_id=name,
            tenant="acme",
            entry_id="entry",
            scope="scope",
            score=0.9,
            is_right=True,
            was_served=False,
            weight=1.0,
            at=1,
        )
        await append(backend, encode_record(record))


async def append(backend: LogBackend, value: bytes) -> None:
    """Write bytes."""
    await backend.append(Topic.CACHE_JUDGEMENTS, value, partition=0, key=b"acme", timestamp_ms=None)


async def test_what_was_there_is_heard_before_a_process_has_caught_up(backend: LogBackend) -> None:
    """And what comes later, too; what is no judgement is passed over."""
    await backend.make_topic(Topic.CACHE_JUDGEMENTS, partitions=1)
    await judge(backend, "one", "two")
    await append(backend, b"\xff")
    await judge(backend, "three")
    async with process(backend) as heard:
        await backend.until(lambda: heard.known_at is not None)
        assert (heard.ids, heard.known_at) == (["one", "two", "three"], 3)
        await judge(backend, "four")
        await backend.until(lambda: len(heard.ids) == 4)
    async with process(backend) as again:
        await backend.until(lambda: again.known_at == 4)
        assert again.ids == ["one", "two", "three", "four"]


async def test_an_empty_topic_is_read_at_once(backend: LogBackend) -> None:
    """A new cluster's processes do not wait for a first judgement."""
    await backend.make_topic(Topic.CACHE_JUDGEMENTS, partitions=1)
    async with process(backend) as heard:
        await backend.until(lambda: heard.known_at == 0)
