"""Vectors of inputs in the cache, whatever it is: in memory, or in Redis."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_hex

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from services.model_caller.embedded_inputs import EmbeddedInputs, InputMetrics
from services.model_caller.embeddings import Sent, inputs_of
from services.shared.adapters.redis_response_cache import RedisResponseCache, connected_redis
from services.shared.adapters.system_clock import SystemClock
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.configuration import Configuration
from services.shared.domain.events import RequestRouted
from services.shared.domain.kept_vectors import HEAD, kept_at, prefix_of
from services.shared.ports.response_cache import ResponseCache
from tests.support.memory_cache import MemoryCache
from tests.support.redis_server import redis_server
from tests.unit.model_caller.callers import embedding

BACKENDS = ["memory", pytest.param("redis", marks=pytest.mark.redis)]
_ONE = msgspec.Raw(b"[1.5]")
LATEST_S = 0.5
"""When a look-up has given up on a cache that is away: 50 ms, and what a busy machine adds."""


@asynccontextmanager
async def cache_of(backend: str, request: pytest.FixtureRequest) -> AsyncIterator[ResponseCache]:
    """An empty cache, or one in which nobody else has our tenant."""
    if backend == "memory":
        yield MemoryCache()
        return
    async with connected_redis(request.getfixturevalue("redis_url")) as redis:
        yield RedisResponseCache(redis, clock=SystemClock(), timeout_s=5.0)


def inputs_in(cache: ResponseCache) -> EmbeddedInputs:
    """A process that keeps vectors there."""
    return EmbeddedInputs(
        cache,
        times=CacheTimes(Configuration()),
        clock=SystemClock(),
        metrics=InputMetrics(CollectorRegistry()),
    )


def asking(count: int, tenant: str) -> RequestRouted:
    """A request for so many inputs."""
    body = json.dumps({"model": "e", "input": [f"text {i}" for i in range(count)]}).encode()
    return embedding(1, body, tenant=tenant)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("count", [1, 300])
async def test_what_one_process_kept_another_finds(
    backend: str, count: int, request: pytest.FixtureRequest
) -> None:
    """In order or not, all of it, and nothing that was not kept."""
    async with cache_of(backend, request) as cache:
        member = asking(count, tenant := token_hex(8))
        came = {
            item: Sent(msgspec.Raw(b"[%d.5]" % number), 3, "up")
            for number, item in enumerate(inputs_of(member.request.body))
        }
        target = member.route.targets[0]
        one = inputs_in(cache)
        one.keep([member.request], [came], provider=target.provider, model=target.model)
        await one.settle()
        more = asking(count + 1, tenant)
        known = (await inputs_in(cache).look_up([more])).of(more.request, target)
        assert known.keys() == came.keys()
        assert {vector.tokens for vector in known.values()} == {3}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_what_is_kept_can_be_found_by_tenant_and_time(
    backend: str, request: pytest.FixtureRequest
) -> None:
    """However many there are, and of each only its beginning; a purge needs no more."""
    async with cache_of(backend, request) as cache:
        began_ms = SystemClock().now_ms()
        tenant = token_hex(8)
        for member in (asking(1_200, tenant), asking(1, token_hex(8))):
            came = {item: Sent(_ONE, 3, "up") for item in inputs_of(member.request.body)}
            target = member.route.targets[0]
            inputs = inputs_in(cache)
            inputs.keep([member.request], [came], provider=target.provider, model=target.model)
            await inputs.settle()
        found = await cache.beginnings(prefix_of(tenant), size_bytes=HEAD.size)
        assert len(found) == 1_200
        assert {len(head) for head in found.values()} == {HEAD.size}
        assert all(int(began_ms) <= (kept_at(head) or 0) for head in found.values())
        await cache.delete(list(found))
        assert not await cache.beginnings(prefix_of(tenant), size_bytes=HEAD.size)


@pytest.mark.redis
async def test_a_redis_that_died_knows_nothing_and_says_so_soon() -> None:
    """An answer never waits for it."""
    with redis_server() as server:
        async with connected_redis(server.url) as redis:
            inputs = inputs_in(RedisResponseCache(redis, clock=SystemClock()))
            member = asking(1, token_hex(8))
            await inputs.look_up([member])
            server.kill()
            began_s = time.monotonic()
            known = await inputs.look_up([member])
            assert time.monotonic() - began_s < LATEST_S
            assert not known.is_all(member.request)
