"""Closing a client of aiokafka in bounded time: with no broker it would wait for one."""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

_CLOSE_S = 0.8
_CUT_S = 0.1


async def closed_soon(client: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Stop a client; when that takes too long, cut its connections and leave it as it is."""
    stop: Awaitable[None] = client.stop()  # type: ignore[no-untyped-call]
    try:
        async with asyncio.timeout(_CLOSE_S):
            await stop
    except TimeoutError:
        network: Any = getattr(client, "client", None) or getattr(client, "_client", None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CUT_S):
                await network.close()
