"""Claims of idempotency keys on a log: who holds a key is the same for every gateway."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from services.shared.codec.records import encode_record
from services.shared.domain.claims import READ_BACK_MS, Claims, Holder, key_hash
from services.shared.domain.errors import Unavailable
from services.shared.domain.events import ControlRequested, IdempotencyClaimed
from services.shared.domain.ids import partition_for
from services.shared.domain.topics import Topic
from services.shared.stream.claim_log import ClaimLog
from services.shared.stream.probing import ACKNOWLEDGE_WITHIN_S
from tests.support.log_backend import LogBackend

PARTITIONS = 2
KEY = key_hash("acme", "k")


def claim(
    number: int, *, key: str = KEY, takes_over: str = "", gateway: str = "a"
) -> IdempotencyClaimed:
    """A claim of a gateway's request."""
    return IdempotencyClaimed(
        tenant="acme",
        key_hash=key,
        fingerprint="f",
        request_id=f"{gateway}{number}",
        at=0,
        takes_over=takes_over,
    )


@asynccontextmanager
async def gateway(backend: LogBackend, *, max_keys: int = 1000) -> AsyncIterator[ClaimLog]:
    """The claim log of one process, read to its end unless there is no broker."""
    log = backend.connect()
    producer = log.producer()
    await producer.start()
    claims = ClaimLog(log, producer, clock=backend.clock, max_keys=max_keys)
    following = asyncio.create_task(claims.follow())
    try:
        await backend.until(lambda: claims.is_read)
        yield claims
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        await producer.stop()


async def make_topic(backend: LogBackend) -> None:
    """Make the topic of claims."""
    await backend.make_topic(Topic.IDEMPOTENCY_KEYS, partitions=PARTITIONS)


async def test_a_hundred_claims_at_once_have_one_winner(backend: LogBackend) -> None:
    """From two gateways: each claim learns the same holder, which is one of them."""
    await make_topic(backend)
    async with gateway(backend) as one, gateway(backend) as two:
        holders = await asyncio.gather(
            *(one.claim(claim(number, gateway="one-")) for number in range(50)),
            *(two.claim(claim(number, gateway="two-")) for number in range(50)),
        )
        (winner,) = {holder.request_id for holder in holders}
        assert winner in {f"{name}-{number}" for name in ("one", "two") for number in range(50)}
        for each in (one, two):
            holder = each.find(KEY)
            assert holder is not None
            assert holder.request_id == winner


async def test_every_gateway_hears_of_every_claim(backend: LogBackend) -> None:
    """Keys on any partition, and who takes one over."""
    await make_topic(backend)
    keys = [key_hash("acme", str(number)) for number in range(20)]
    async with gateway(backend) as one, gateway(backend) as two:
        for number, key in enumerate(keys):
            assert (await one.claim(claim(number, key=key))).request_id == f"a{number}"
        await backend.until(lambda: len(two) == len(keys))
        await two.claim(claim(100, key=keys[0], takes_over="a0"))
        await backend.until(lambda: _id(one.find(keys[0])) == "a100")
        assert [_id(two.find(key)) for key in keys[1:]] == [f"a{n}" for n in range(1, 20)]


async def test_a_gateway_that_starts_reads_back(backend: LogBackend) -> None:
    """What was claimed before it started it knows before it answers anything."""
    await make_topic(backend)
    async with gateway(backend) as before:
        await before.claim(claim(1))
    async with gateway(backend) as after:
        assert after.read_ratio == 1.0
        assert _id(after.find(KEY)) == "a1"
        assert (await after.claim(claim(2))).request_id == "a1"


async def test_it_is_told_how_much_was_read_back(backend: LogBackend) -> None:
    """It only grows, and comes to the whole when every claim is known."""
    await make_topic(backend)
    keys = [key_hash("acme", str(number)) for number in range(1_500)]
    for key in keys:
        await backend.append(
            Topic.IDEMPOTENCY_KEYS,
            encode_record(claim(1, key=key)),
            partition=partition_for(key, PARTITIONS),
            key=key.encode(),
        )
    log = backend.connect()
    producer = log.producer()
    await producer.start()
    claims = ClaimLog(log, producer, clock=backend.clock)
    seen = [(claims.read_ratio, len(claims))]
    apply = Claims.apply

    def watched(them: Claims, claimed: IdempotencyClaimed, *, at_ms: int) -> Holder:
        seen.append((claims.read_ratio, len(claims)))
        return apply(them, claimed, at_ms=at_ms)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Claims, "apply", watched)
        following = asyncio.create_task(claims.follow())
        await backend.until(lambda: claims.is_read)
    ratios = [ratio for ratio, _ in seen]
    assert ratios == sorted(ratios)
    assert any(0 < ratio < 1 for ratio in ratios)
    assert all(round(ratio * len(keys)) <= held for ratio, held in seen)
    assert (claims.read_ratio, len(claims)) == (1.0, len(keys))
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    await producer.stop()


async def test_what_is_long_past_is_not_read(backend: LogBackend) -> None:
    """A day and a little is read back; what is older holds nothing."""
    await make_topic(backend)
    past_ms = int(backend.clock.now_ms()) - READ_BACK_MS - 1000
    for number, (key, at_ms) in enumerate([(KEY, past_ms), (key_hash("acme", "new"), None)]):
        await backend.append(
            Topic.IDEMPOTENCY_KEYS,
            encode_record(claim(number, key=key)),
            partition=partition_for(key, PARTITIONS),
            key=key.encode(),
            timestamp_ms=at_ms,
        )
    async with gateway(backend) as claims:
        assert len(claims) == 1
        assert claims.find(KEY) is None


async def test_what_is_no_claim_is_passed(backend: LogBackend) -> None:
    """Whatever else lies on the topic counts for nobody."""
    await make_topic(backend)
    where = partition_for(KEY, PARTITIONS)
    other = ControlRequested(action="cancel", request_id="r", tenant="t", at=0)
    async with gateway(backend) as claims:
        for value in (b"", b"\x00junk", None, encode_record(other), _claim_of_no_key()):
            await backend.append(Topic.IDEMPOTENCY_KEYS, value, partition=where, key=b"x")
        assert (await claims.claim(claim(1))).request_id == "a1"
        assert len(claims) == 1


async def test_a_book_may_be_full(backend: LogBackend) -> None:
    """It says so, and goes on to know what others claim."""
    await make_topic(backend)
    async with gateway(backend, max_keys=1) as small, gateway(backend) as large:
        fullness = [small.is_full]
        await small.claim(claim(1))
        assert [*fullness, small.is_full] == [False, True]
        other = key_hash("acme", "other")
        await large.claim(claim(2, key=other))
        await backend.until(lambda: _id(small.find(other)) == "a2")


async def test_nothing_is_known_before_the_claims_are_read(backend: LogBackend) -> None:
    """Neither a holder nor a claim: a second execution would be worse than no answer."""
    await make_topic(backend)
    producer = backend.connect().producer()
    await producer.start()
    claims = ClaimLog(backend.connect_to_nobody(), producer, clock=backend.clock)
    following = asyncio.create_task(claims.follow())
    await asyncio.sleep(0.3)
    assert claims.read_ratio == 0.0
    with pytest.raises(Unavailable):
        claims.find(KEY)
    with pytest.raises(Unavailable):
        await claims.claim(claim(1))
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    await producer.stop()
    assert await backend.records(Topic.IDEMPOTENCY_KEYS) == []


async def test_a_silent_broker_is_not_waited_for_long(stoppable_backend: LogBackend) -> None:
    """Four seconds the first time, then at once; what is known is still known; then it goes on."""
    backend = stoppable_backend
    await make_topic(backend)
    async with gateway(backend) as claims:
        await claims.claim(claim(1))
        async with backend.outage():
            began_s = backend.clock.monotonic_s()
            with pytest.raises(Unavailable):
                await claims.claim(claim(2, key=key_hash("acme", "new")))
            waited_s = backend.clock.monotonic_s() - began_s
            assert abs(waited_s - ACKNOWLEDGE_WITHIN_S) < 1
            began_s = backend.clock.monotonic_s()
            with pytest.raises(Unavailable):
                await claims.claim(claim(3, key=key_hash("acme", "newer")))
            assert backend.clock.monotonic_s() - began_s < 1
            assert _id(claims.find(KEY)) == "a1"

        async def is_back() -> bool:
            try:
                await claims.claim(claim(4, key=key_hash("acme", "newest")))
            except Unavailable:
                return False
            return True

        await backend.until(is_back)


def _id(holder: Holder | None) -> str:
    return "" if holder is None else holder.request_id


def _claim_of_no_key() -> bytes:
    return encode_record(claim(9, key="no hex"))
