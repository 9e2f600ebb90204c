"""Closing a client of aiokafka in bounded time: with no broker it would wait for one."""

import asyncio
import contextlib
from collections.abc import Awaitable

_CLOSE_S = 0.8


async def closed_soon(closing: Awaitable[None]) -> None:
    """Await a client's ``stop``; after a while leave it as it is."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await closing
