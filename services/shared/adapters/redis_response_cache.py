"""Answers kept in Redis or Valkey.

A slow Redis is worse than a dead one: every round trip is bounded, and after a few failures in a
row nobody asks for a while, but for one probe a second.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from services.shared.adapters.resting import Resting
from services.shared.domain.errors import Unavailable
from services.shared.ports.clock import Clock
from services.shared.ports.response_cache import Stored

_PREFIX = "mr:cache:"
_SCANNED_AT_ONCE = 500
_TIMEOUT_S = 0.05
_CONNECT_S = 1.0

T = TypeVar("T")


class RedisResponseCache:
    """Keys are prefixed; each entry expires by Redis' own clock."""

    def __init__(self, redis: "Redis", *, clock: Clock, timeout_s: float = _TIMEOUT_S) -> None:
        """Use a client made with ``decode_responses=False``.

        Args:
            redis: The client; the owner closes it.
            clock: For the pause after failures.
            timeout_s: Longest round trip, seconds.
        """
        self._redis = redis
        self._timeout_s = timeout_s
        self._resting = Resting("redis", clock=clock)

    async def read(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Read entries in one round trip."""
        names = [_PREFIX + key for key in keys]

        async def fetch() -> Sequence[bytes | None]:
            values = await self._redis.mget(names)
            return [value if isinstance(value, bytes) else None for value in values]

        return await self._bounded(fetch)

    async def write(self, entries: Sequence[Stored]) -> None:
        """Keep entries in one round trip."""

        async def store() -> None:
            pipeline = self._redis.pipeline(transaction=False)
            for entry in entries:
                pipeline.set(_PREFIX + entry.key, entry.value, ex=entry.ttl_s)
            await pipeline.execute()

        await self._bounded(store)

    async def delete(self, keys: Sequence[str]) -> None:
        """Forget entries."""

        async def remove() -> None:
            await self._redis.unlink(*(_PREFIX + key for key in keys))

        await self._bounded(remove)

    async def beginnings(self, prefix: str, *, size_bytes: int) -> Mapping[str, bytes]:
        """Read the first bytes of entries, some at a time, so that nobody waits for it."""
        found: dict[str, bytes] = {}
        pattern = _PREFIX + prefix + "*"
        cursor = -1

        async def some() -> int:
            following, names = await self._redis.scan(
                max(cursor, 0), match=pattern, count=_SCANNED_AT_ONCE
            )
            pipeline = self._redis.pipeline(transaction=False)
            for name in names:
                pipeline.getrange(name, 0, size_bytes - 1)
            for name, value in zip(names, await pipeline.execute(), strict=True):
                if value:  # an empty one has expired since
                    key = name.decode() if isinstance(name, bytes) else name
                    found[key.removeprefix(_PREFIX)] = value
            return int(following)

        while cursor != 0:
            cursor = await self._bounded(some)
        return found

    async def _bounded(self, call: Callable[[], Awaitable[T]]) -> T:
        self._resting.check()
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await call()
        except ResponseError as error:  # it answers, but not to this: full, or a wrong type
            raise Unavailable("redis", str(error)[:64]) from error
        except (RedisError, OSError, TimeoutError) as error:
            self._resting.failed()
            raise Unavailable("redis", type(error).__name__) from error
        self._resting.answered()
        return result


@asynccontextmanager
async def connected_redis(url: str) -> AsyncIterator["Redis"]:
    """A client with one pool; it connects at the first command and again after each loss."""
    redis = Redis.from_url(url, decode_responses=False, socket_connect_timeout=_CONNECT_S)
    try:
        yield redis
    finally:
        await redis.aclose()
