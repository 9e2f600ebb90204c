"""Circuits shared by all model callers: what one has seen, the others need not find out.

Every process follows the whole of ``provider-health``, from its start and then live, without a
group.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from services.shared.codec.records import decode_record
from services.shared.domain.emit import Emit
from services.shared.domain.errors import PoisonRecord, Unavailable
from services.shared.domain.events import ProviderHealth
from services.shared.domain.topics import Topic
from services.shared.stream.background import BackgroundTasks
from services.shared.stream.backoff import backoff_s
from services.shared.stream.client import Log, Polled, TopicPartition
from services.shared.stream.outbox import Outbox

Take = Callable[[ProviderHealth], None]

_LOG = logging.getLogger(__name__)
_POLL_S = 1.0
_POLL_RECORDS = 1000


@asynccontextmanager
async def shared_health(adopt: Take, *, log: Log, outbox: Outbox) -> AsyncIterator[Take]:
    """Share circuits with the other processes for as long as the context lasts.

    Args:
        adopt: Told what any process, this one too, has published.
        log: To read with.
        outbox: To write with.

    Yields:
        What publishes a change, without waiting for it.
    """
    changes: asyncio.Queue[ProviderHealth] = asyncio.Queue()
    tasks = BackgroundTasks(on_failure=outbox.give_up)
    tasks.start(_publish(changes, outbox))
    tasks.start(_follow(adopt, log, outbox.partition_count(Topic.PROVIDER_HEALTH)))
    try:
        yield changes.put_nowait
    finally:
        await tasks.stop()


async def _publish(changes: "asyncio.Queue[ProviderHealth]", outbox: Outbox) -> None:
    while True:
        health = await changes.get()
        key = f"{health.provider}/{health.model}"
        await outbox.send_and_wait(Emit(topic=Topic.PROVIDER_HEALTH, key=key, event=health))


async def _follow(adopt: Take, log: Log, partitions: int) -> None:
    attempt = 0
    while True:
        try:
            await _read(adopt, log, partitions)
        except Unavailable as error:  # what is known already holds meanwhile
            _LOG.warning("the health of providers cannot be read", extra={"why": str(error)})
            await asyncio.sleep(backoff_s(attempt))
            attempt += 1


async def _read(adopt: Take, log: Log, partitions: int) -> None:
    """Read until the broker is lost; reading a change again changes nothing."""
    reader = log.reader()
    topic_partitions = [TopicPartition(Topic.PROVIDER_HEALTH, i) for i in range(partitions)]
    try:
        await reader.start(topic_partitions)
        for partition in topic_partitions:
            await reader.seek_to_time(partition, 0)
        while True:
            _hand_over(adopt, await reader.poll(timeout_s=_POLL_S, max_records=_POLL_RECORDS))
    finally:
        with contextlib.suppress(Unavailable):
            await reader.stop()


def _hand_over(adopt: Take, polled: Polled) -> None:
    for raws in polled.values():
        for raw in raws:
            if raw.value is None:
                continue
            try:
                adopt(decode_record(raw.value, ProviderHealth))
            except PoisonRecord as poison:
                _LOG.warning(
                    "a record of a provider's health cannot be read",
                    extra={"offset": raw.offset, "why": str(poison)},
                )
