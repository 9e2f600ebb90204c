"""The semantic tier beside the polls: what gathers, what is late, what fails alone. Fake time."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from services.cache_lookup.decide import Hit, NoHit
from services.cache_lookup.similar.metrics import SemanticMetrics
from services.cache_lookup.similar.seeking import WITHIN_S, Seeking, Sought
from services.cache_lookup.similar.tier import SemanticTier
from services.shared.adapters.numpy_semantic_index import NumpySemanticIndex
from services.shared.codec.records import encode_record
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.configuration import Cache, Configuration, Model, ModelTarget
from services.shared.domain.configuration_semantic import Semantic, SemanticMode
from services.shared.domain.errors import MustStop, PoisonRecord, Unavailable
from services.shared.domain.events import CacheEntry, CachePolicy, InferenceRequested, SemanticKey
from services.shared.domain.semantic_modes import SemanticModes
from services.shared.ports.semantic_index import Near
from tests.support.example_events import request_id, requested
from tests.support.fake_clock import START_MS, FakeClock
from tests.support.fake_encoder import FakeEncoder
from tests.support.memory_cache import MemoryCache
from tests.support.open_record import RecordInWork
from tests.support.semantic_entries import entry_of

_CONFIGURATION = Configuration(
    cache=Cache(semantic=Semantic(mode=SemanticMode.GUARDED)),
    models={
        "small": Model(targets=(ModelTarget(provider="simulator"),)),
        "plain": Model(targets=(ModelTarget(provider="simulator"),), semantic=SemanticMode.OFF),
    },
)


class SlowEncoder(FakeEncoder):
    """Takes its time.

    Attributes:
        takes_s: How long each call takes, seconds.
        breaks: Each call fails as no encoder should.
    """

    takes_s = 0.0
    breaks = False

    async def encode(self, texts: Sequence[str]) -> Any:
        """See ``Encoder``."""
        await asyncio.sleep(self.takes_s)
        if self.breaks:
            raise ZeroDivisionError
        return await super().encode(texts)


class FlakyIndex(NumpySemanticIndex):
    """An index that may be slow or away."""

    takes_s = 0.0
    is_away = False

    async def nearest(
        self, keys: Sequence[SemanticKey], *, most: int, now_ms: float
    ) -> Sequence[Sequence[Near]]:
        """See ``SemanticIndex``."""
        await asyncio.sleep(self.takes_s)
        if self.is_away:
            raise Unavailable("index", "away")
        return await super().nearest(keys, most=most, now_ms=now_ms)


class Tier:
    """A semantic tier and what it concluded, in order."""

    def __init__(self) -> None:
        self.encoder = SlowEncoder()
        self.index = FlakyIndex(max_entries=100)
        self.cache = MemoryCache()
        self.registry = CollectorRegistry()
        self.concluded: list[tuple[str, str, float]] = []
        self.verdicts: dict[str, Hit | NoHit] = {}
        self.failing: dict[str, Exception] = {}
        self.tier = SemanticTier(
            encoder=self.encoder,
            index=self.index,
            cache=self.cache,
            clock=FakeClock(),
            modes=SemanticModes(_CONFIGURATION),
            policy=_CONFIGURATION.cache.semantic,
            times=CacheTimes(_CONFIGURATION),
            gatekeeper=None,
            metrics=SemanticMetrics(self.registry),
        )
        self.seeking = Seeking(self.tier)
        self._began_s = asyncio.get_running_loop().time()

    async def conclude(self, sought: Sought, verdict: Hit | NoHit) -> None:
        """Take a verdict."""
        took_s = asyncio.get_running_loop().time() - self._began_s
        request = sought.request
        if (error := self.failing.get(request.request_id)) is not None:
            raise error
        self.concluded.append((request.request_id, verdict.evidence.outcome, round(took_s, 3)))
        self.verdicts[request.request_id] = verdict
        sought.record.finish()

    async def seek(
        self, *requests: InferenceRequested, for_s: float = 1.0
    ) -> list[RecordInWork[InferenceRequested]]:
        """Take requests as one poll, and let time pass."""
        records = [RecordInWork(request) for request in requests]
        running = asyncio.ensure_future(self.seeking.run(self.conclude))
        self.seeking.take(Sought(record, record.event, ()) for record in records)
        assert all(self.seeking.holds(record) for record in records)
        done, _ = await asyncio.wait([running], timeout=for_s)
        running.cancel()
        for ended in done:
            ended.result()
        assert not any(self.seeking.holds(record) for record in records)
        return records

    async def keep(self, number: int) -> None:
        """Keep an answer to a request, as writer and follower do."""
        (verdict,) = await self.tier.look_up([asking(number)], within_s=1.0)
        key = verdict.evidence.semantic
        assert key is not None
        entry = entry_of(number, semantic=key)
        await self.index.put([entry])
        body = CacheEntry(
            fingerprint=entry.fingerprint,
            tenant="acme",
            request_id=entry.entry_id,
            operation="chat",
            response=b"{}",
            stored_at=int(START_MS),
        )
        self.cache.entries[entry.fingerprint] = encode_record(body)

    def count(self, outcome: str) -> float:
        """How often it came to this."""
        name = "millrace_semantic_lookups_total"
        return self.registry.get_sample_value(name, {"outcome": outcome}) or 0.0


def asking(
    number: int, text: str = "How deep is the sea of Japan?", **changes: Any
) -> InferenceRequested:
    """A request that asks something."""
    messages = [{"role": "user", "content": text}]
    body = msgspec.json.encode({"model": "small", "messages": messages})
    return requested(number, body=body, **changes)


async def test_what_is_like_is_served() -> None:
    """By the body under the entry's fingerprint."""
    tier = Tier()
    await tier.keep(1)
    await tier.seek(asking(2, "how deep is the sea of japan?"), asking(3, "Who was Ada Lovelace?"))
    assert [(it[0], it[1]) for it in tier.concluded] == [
        (request_id(2), "semantic_hit"),
        (request_id(3), "miss"),
    ]
    assert (tier.count("hit"), tier.count("none")) == (1, 2)  # the kept one found none, too


async def test_its_own_entry_is_not_its_candidate() -> None:
    """A request that is delivered again after its answer was kept compares with the others."""
    tier = Tier()
    await tier.keep(1)
    await tier.seek(asking(1, fingerprint="f" * 64))
    assert tier.concluded[0][1] == "miss"
    assert tier.verdicts[request_id(1)].evidence.candidate_id == ""


async def test_who_comes_here() -> None:
    """Requests of aliases that have a mode, whose callers allow it."""
    seeking = Tier().seeking
    assert seeking.takes(asking(1))
    assert not seeking.takes(asking(1, model="plain"))
    assert not seeking.takes(asking(1, model="unknown"))
    assert not seeking.takes(asking(1, cache_policy=CachePolicy(no_semantic=True)))


@pytest.mark.parametrize(
    ("encoder_s", "index_s", "has_key"), [(5.0, 0.0, False), (0.0, 5.0, True), (0.03, 0.03, True)]
)
async def test_what_is_slow_is_a_miss_in_time(
    encoder_s: float,
    index_s: float,
    has_key: bool,  # noqa: FBT001  # a column of the table
) -> None:
    """Encoder and index together; a question that was encoded is not lost."""
    tier = Tier()
    await tier.keep(1)
    tier.encoder.takes_s, tier.index.takes_s = encoder_s, index_s
    await tier.seek(asking(2))
    assert tier.concluded == [(request_id(2), "miss", WITHIN_S)]
    assert (tier.verdicts[request_id(2)].evidence.semantic is not None) is has_key
    assert tier.count("unavailable") == 1


async def test_what_is_away_is_a_miss_at_once() -> None:
    """Encoder, index and store of bodies."""
    for part in ("encoder", "index", "cache"):
        tier = Tier()
        await tier.keep(1)
        tier.encoder.is_available = part != "encoder"
        tier.index.is_away = part == "index"
        tier.cache.is_available = part != "cache"
        await tier.seek(asking(2))
        assert tier.concluded == [(request_id(2), "miss", 0.0)]


async def test_what_waited_too_long_is_a_miss_without_more_work() -> None:
    """Sixteen are compared at once, the urgent first; nobody waits for longer than the bound.

    After them it is known that no more than a few can be compared in time, so the others go on.
    """
    tier = Tier()
    tier.encoder.takes_s = 0.04
    background = [asking(number, priority=2) for number in range(1, 41)]
    urgent = [asking(number, priority=0) for number in range(41, 45)]
    await tier.seek(*background, *urgent)
    assert len(tier.concluded) == 44
    assert [it[0] for it in tier.concluded[:4]] == [it.request_id for it in urgent]
    assert max(took_s for _, _, took_s in tier.concluded) == pytest.approx(WITHIN_S, abs=0.001)
    assert (tier.count("late"), tier.count("unavailable")) == (25, 3)
    assert len(tier.encoder.calls) == 1  # the second call was given up


async def test_a_broken_encoder_is_a_miss() -> None:
    """Whatever is wrong with it."""
    tier = Tier()
    tier.encoder.breaks = True
    await tier.seek(asking(1), asking(2))
    assert [it[1] for it in tier.concluded] == ["miss", "miss"]


@pytest.mark.parametrize("error", [PoisonRecord("too_large", "why"), ZeroDivisionError()])
async def test_a_request_that_cannot_be_passed_on_fails_alone(error: Exception) -> None:
    """It becomes a dead letter; the others go on."""
    tier = Tier()
    tier.failing[request_id(1)] = error
    first, second = await tier.seek(asking(1), asking(2))
    assert first.buried is not None
    assert second.buried is None
    assert [it[0] for it in tier.concluded] == [request_id(2)]


async def test_a_process_that_must_stop_stops() -> None:
    """Nothing more is concluded."""
    tier = Tier()
    tier.failing[request_id(1)] = MustStop("fenced")
    record = RecordInWork(asking(1))
    tier.seeking.take([Sought(record, record.event, ())])
    with pytest.raises(MustStop):
        await tier.seeking.run(tier.conclude)


async def test_a_body_that_cannot_be_read_is_none() -> None:
    """Its entry is forgotten."""
    tier = Tier()
    await tier.keep(1)
    tier.cache.entries[f"{1:064x}"] = b"spoilt"
    await tier.seek(asking(2))
    assert (tier.concluded[0][1], tier.count("gone"), len(tier.index)) == ("miss", 1, 0)
