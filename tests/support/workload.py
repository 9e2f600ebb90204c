"""Open-loop load: requests are sent on time whatever becomes of the earlier ones."""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from tests.support.history import Operation
from tests.support.sse_client import chat

CLIENT_TIMEOUT_S = 45.0
_STREAM_RATIO = 0.6
INSTANT_MODEL = "sim-fast:tokens=40"
_MODELS = (
    "sim-fast:ttft=40ms:tps=60:tokens=24",
    INSTANT_MODEL,
    "sim-fast:ttft=200ms:tps=25:tokens=75",
)
"""Streams of 0.4 s, at once, and 3 s."""


class Workload:
    """Requests at a steady rate.

    Attributes:
        operations: What was sent, and what came of it.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, *, rate: float, seed: int) -> None:
        """Prepare.

        Args:
            session: With the key among its headers.
            url: Root of the OpenAI endpoint.
            rate: Requests a second.
            seed: Of what is asked.
        """
        self.operations: list[Operation] = []
        self._session = session
        self._url = url
        self._interval_s = 1 / rate
        self._random = random.Random(seed)
        self._running: set[asyncio.Task[None]] = set()

    async def send(self) -> None:
        """Send requests until cancelled."""
        due_s = time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            due_s += self._interval_s
            task = asyncio.create_task(self._ask())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def finish(self) -> None:
        """Wait for the requests that are under way."""
        while self._running:
            await asyncio.gather(*self._running)

    async def _ask(self) -> None:
        body = {
            "model": self._random.choice(_MODELS),
            "messages": [{"role": "user", "content": uuid.uuid4().hex}],
            "stream": self._random.random() < _STREAM_RATIO,
        }
        await chat(self._session, self._url, body, timeout_s=CLIENT_TIMEOUT_S, log=self.operations)


@asynccontextmanager
async def workload(url: str, key: str, *, rate: float, seed: int) -> AsyncIterator[Workload]:
    """Load for the length of a ``with`` block; at its end every request has ended."""
    headers = {"authorization": f"Bearer {key}"}
    # A connection each: one that broke must not take the next request with it.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        load = Workload(session, url, rate=rate, seed=seed)
        sending = asyncio.create_task(load.send())
        try:
            yield load
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            await load.finish()
