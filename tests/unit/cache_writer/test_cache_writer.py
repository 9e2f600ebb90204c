"""Which answers are kept, for how long, and what happens when they cannot be."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.cache_lookup.decide import Hit, judge
from services.cache_writer.decide import Keep, Pass, admit_answer
from services.cache_writer.processor import CacheWriterProcessor, WriterMetrics
from services.shared.codec.records import decode_record
from services.shared.domain.answer_text import answer_hash
from services.shared.domain.cache_times import CacheTimes
from services.shared.domain.configuration import Cache, CacheTtl, Configuration, Model, ModelTarget
from services.shared.domain.emit import Emit
from services.shared.domain.events import (
    AnswerCached,
    CacheEntry,
    CacheEvidence,
    CachePolicy,
    InferenceFinished,
    ModelCall,
)
from services.shared.domain.topics import Topic
from tests.support.example_events import finished, requested
from tests.support.fake_clock import START_MS
from tests.support.memory_cache import MemoryCache
from tests.support.open_record import RecordInWork
from tests.support.semantic_entries import direction, key_of

ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Deep."}}]}'
CALLED = (ModelCall(attempt=1, provider="simulator", model="small", started_ms=1.0),)


def answered(number: int = 1, **changes: Any) -> InferenceFinished:
    """A request that a model answered."""
    return finished(number, **{"calls": CALLED, **changes})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"outcome": "failed"}, "not completed", id="failed"),
        pytest.param({"outcome": "cancelled"}, "not completed", id="cancelled"),
        pytest.param({"outcome": "expired"}, "not completed", id="expired"),
        pytest.param({"calls": ()}, "no model was called", id="no_call"),
        pytest.param(
            {"cache": CacheEvidence(outcome="exact_hit")}, "already kept", id="came_from_the_cache"
        ),
        pytest.param({"finish_reason": "length"}, "did not end by itself", id="cut_off"),
        pytest.param({"finish_reason": "tool_calls"}, "did not end by itself", id="tools"),
        pytest.param(
            {"cache_policy": CachePolicy(no_store=True)}, "the caller forbids it", id="no_store"
        ),
        pytest.param({"fingerprint": ""}, "no fingerprint", id="no_fingerprint"),
        pytest.param({"response": b""}, "size", id="empty"),
        pytest.param({"response": b"x" * 101}, "size", id="too_large"),
    ],
)
def test_what_is_not_kept(changes: dict[str, Any], reason: str) -> None:
    """Only whole answers of a model that we called, where the caller lets us."""
    verdict = admit_answer(answered(**changes), ttl_s=60, max_body_bytes=100)
    assert isinstance(verdict, Pass)
    assert reason in verdict.reason


def test_kinds_that_are_never_kept_are_not() -> None:
    """No time to live is no entry."""
    verdict = admit_answer(answered(), ttl_s=0, max_body_bytes=100)
    assert verdict == Pass("answers of this kind are not kept")


@pytest.mark.parametrize("outcome", ["miss", "bypass"])
def test_what_is_kept_answers_the_next_request(outcome: str) -> None:
    """The lookup serves it to whoever asks the same; a caller's no-cache does not forbid that."""
    event = answered(cache=CacheEvidence(outcome=outcome), response=b"x" * 100)
    verdict = admit_answer(event, ttl_s=60, max_body_bytes=100)
    assert isinstance(verdict, Keep)
    assert verdict.ttl_s == 60
    entry = verdict.entry
    assert (entry.response, entry.usage) == (event.response, event.usage)
    assert entry.stored_at == event.finished_at
    hit = judge(requested(2, fingerprint=event.fingerprint), entry, ttl_s=60, now_ms=START_MS)
    assert isinstance(hit, Hit)


class Writer:
    """A cache writer.

    Attributes:
        cache: Its cache.
        emitted: What it emitted for each record.
    """

    def __init__(self) -> None:
        """Start it with an empty cache."""
        configuration = Configuration(
            cache=Cache(ttl_s=CacheTtl(chat=60, embeddings=600), max_body_bytes=100),
            models={
                "brief": Model(targets=(ModelTarget(provider="simulator"),), cache_ttl_s=5),
                "never": Model(targets=(ModelTarget(provider="simulator"),), cache_ttl_s=0),
            },
        )
        self.cache = MemoryCache()
        self.emitted: list[list[Emit]] = []
        self._registry = CollectorRegistry()
        self._processor = CacheWriterProcessor(
            cache=self.cache,
            times=CacheTimes(configuration),
            policy=configuration.cache,
            metrics=WriterMetrics(self._registry),
        )

    async def poll(self, *events: InferenceFinished) -> None:
        """Take these as one poll."""
        works = [RecordInWork(event) for event in events]
        emits = await self._processor.process(works, START_MS)
        assert len(emits) == len(events)
        self.emitted += [list(it) for it in emits]

    def announced(self) -> list[AnswerCached]:
        """What look-ups were told of, each under its id."""
        entries = []
        for emit in (emit for emits in self.emitted for emit in emits):
            assert isinstance(emit.event, AnswerCached)
            assert (emit.topic, emit.key) == (Topic.CACHE_ENTRIES, emit.event.entry_id)
            entries.append(emit.event)
        return entries

    def count(self, outcome: str) -> float:
        """How many answers it happened to."""
        name = "millrace_cache_writes_total"
        return self._registry.get_sample_value(name, {"outcome": outcome}) or 0


async def test_the_answers_of_a_poll_are_kept() -> None:
    """Each under its fingerprint, as long as its alias and operation say."""
    writer = Writer()
    await writer.poll(
        answered(1),
        answered(2, model="brief"),
        answered(3, model="never"),
        answered(4, operation="embeddings"),
        answered(5, outcome="failed"),
    )
    kept = {key: decode_record(value, CacheEntry) for key, value in writer.cache.entries.items()}
    hashes = [answered(number).fingerprint for number in (1, 2, 4)]
    assert sorted(kept) == sorted(hashes)
    assert kept[hashes[0]].request_id == answered(1).request_id
    assert [writer.cache.ttl_s[key] for key in hashes] == [60, 5, 600]
    entries = writer.announced()
    assert [entry.fingerprint for entry in entries] == hashes
    assert [entry.expires_at - int(START_MS) for entry in entries] == [60_000, 5_000, 600_000]
    assert [len(emits) for emits in writer.emitted] == [1, 1, 0, 1, 0]
    assert (writer.count("kept"), writer.count("passed"), writer.count("lost")) == (3, 2, 0)


async def test_a_cache_that_is_away_costs_no_more_than_the_entry() -> None:
    """It is counted and let go; the log does not wait for Redis."""
    writer = Writer()
    writer.cache.is_available = False
    await writer.poll(answered())
    assert (writer.count("kept"), writer.count("lost")) == (0, 1)
    assert writer.announced() == []


@pytest.mark.parametrize(
    ("response", "text"), [(ANSWER, "Deep."), (b'{"choices":[]}', ""), (b"none", "")]
)
async def test_an_answer_with_a_text_is_found_by_its_question(response: bytes, text: str) -> None:
    """Its question and the hash of its text are told; without a text it is found exactly only."""
    writer = Writer()
    key = key_of(direction(1))
    event = answered(cache=CacheEvidence(outcome="miss", semantic=key), response=response)
    await writer.poll(event)
    (entry,) = writer.announced()
    assert entry.semantic == (key if text else None)
    assert entry.answer_hash == (answer_hash(text) if text else "")
    assert (entry.entry_id, entry.tenant, entry.model) == (event.request_id, "acme", "small")
    assert (entry.operation, entry.stored_at) == ("chat", event.finished_at)


@pytest.mark.parametrize("operation", ["", "shopping", "__class__"])
async def test_the_end_of_a_record_that_was_no_request_is_passed_over(operation: str) -> None:
    """A refused or poisoned record may have no operation of ours; that is no fault of the log's."""
    writer = Writer()
    await writer.poll(answered(operation=operation))
    assert writer.cache.entries == {}
    assert writer.count("passed") == 1
