"""The exact cache, as these commands reach it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from services.shared.adapters.redis_response_cache import RedisResponseCache, connected_redis
from services.shared.adapters.system_clock import SystemClock
from services.shared.ports.response_cache import ResponseCache

_ANSWER_S = 10.0


def bodies_at(url: str) -> Callable[[], AbstractAsyncContextManager[ResponseCache]]:
    """A way to connect to the cache at a URL, which is given more time than a look-up gives it."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[ResponseCache]:
        async with connected_redis(url) as redis:
            yield RedisResponseCache(redis, clock=SystemClock(), timeout_s=_ANSWER_S)

    return connect
