"""Connecting to a log that may come up after us, and knowing whether it is still there."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.shared.domain.errors import Unavailable
from services.shared.stream.chunk_reader import open_reply_partition
from services.shared.stream.client import Log, Producer, Reader

_LOG = logging.getLogger(__name__)
_RETRY_S = 0.2
_LOOK_EVERY_S = 2.0
_ANSWER_WITHIN_S = 2.0

T = TypeVar("T")


async def until_available(connect: Callable[[], Awaitable[T]], *, stop: asyncio.Event) -> T | None:
    """Call until it does not raise ``Unavailable``; None when ``stop`` is set before that."""
    told = False
    stopped = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            attempt = asyncio.ensure_future(connect())
            try:
                await asyncio.wait((attempt, stopped), return_when=asyncio.FIRST_COMPLETED)
            finally:
                attempt.cancel()  # does nothing to one that is done
            if stop.is_set() and not attempt.done():
                await asyncio.gather(attempt, return_exceptions=True)
                break
            try:
                return attempt.result()
            except Unavailable as error:
                if not told:
                    _LOG.info("waiting for Kafka", extra={"why": str(error)})
                    told = True
            await asyncio.wait((stopped,), timeout=_RETRY_S)
    finally:
        stopped.cancel()
    return None


async def connected_producer(log: Log, *, stop: asyncio.Event) -> Producer | None:
    """A connected producer; None when ``stop`` is set before there is one."""

    async def connect() -> Producer:
        producer = log.producer()
        await producer.start()
        return producer

    return await until_available(connect, stop=stop)


async def opened_replies(log: Log, partition: int, *, stop: asyncio.Event) -> Reader | None:
    """A reader at the end of a reply partition; None when ``stop`` is set before there is one."""
    return await until_available(lambda: open_reply_partition(log, partition), stop=stop)


async def watch(reader: Reader, tell: Callable[[bool], None]) -> None:
    """Ask the log from time to time and tell whether it answered, until cancelled."""
    while True:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await reader.end_offsets()
        except (Unavailable, TimeoutError):
            tell(False)  # noqa: FBT003  # a callback's one fact
        else:
            tell(True)  # noqa: FBT003
        await asyncio.sleep(_LOOK_EVERY_S)
