"""Circuits shared by all model callers: what one has seen, the others need not find out.

Every process follows the whole of ``provider-health``, from its start and then live, without a
group.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from services.shared.domain.emit import Emit
from services.shared.domain.events import ProviderHealth
from services.shared.domain.topics import Topic
from services.shared.stream.background import BackgroundTasks
from services.shared.stream.client import Log
from services.shared.stream.following import follow_topic
from services.shared.stream.outbox import Outbox

Take = Callable[[ProviderHealth], None]


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
    places = Topic.PROVIDER_HEALTH, outbox.partition_count(Topic.PROVIDER_HEALTH)
    tasks.start(follow_topic(adopt, ProviderHealth, log=log, places=places, since_ms=0))
    try:
        yield changes.put_nowait
    finally:
        await tasks.stop()


async def _publish(changes: "asyncio.Queue[ProviderHealth]", outbox: Outbox) -> None:
    while True:
        health = await changes.get()
        key = f"{health.provider}/{health.model}"
        await outbox.send_and_wait(Emit(topic=Topic.PROVIDER_HEALTH, key=key, event=health))
