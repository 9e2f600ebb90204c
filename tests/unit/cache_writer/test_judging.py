"""What a fresh answer says of a cached one, and which requests teach anything."""

import json
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from services.cache_writer.judges import Judges
from services.cache_writer.judging import (
    Compare,
    NoCandidate,
    differs_in_substance,
    is_same_text,
    lesson_of,
)
from services.shared.codec.records import encode_record
from services.shared.domain.configuration import Configuration, Model, ModelTarget
from services.shared.domain.configuration_semantic import SemanticMode
from services.shared.domain.events import (
    CacheEntry,
    CacheEvidence,
    CandidateJudged,
    InferenceFinished,
    ModelCall,
    SemanticKey,
)
from services.shared.domain.semantic_modes import SemanticModes
from tests.support.example_events import finished
from tests.support.fake_encoder import FakeEncoder
from tests.support.memory_cache import MemoryCache

KEY = SemanticKey(scope="scope-a", encoder="fake-1", text="how deep?", vector=b"")
MISS = CacheEvidence(
    score=0.93, candidate_id="entry-1", candidate_fingerprint="f1" * 32, semantic=KEY
)
SHADOW = msgspec.structs.replace(MISS, outcome="bypass", shadow_of="request-1", shadow_weight=10.0)
CALLED = (ModelCall(attempt=1, provider="first", model="m", started_ms=1.0),)
DEEP = "The sea is 11 km deep at most."


def body(text: str) -> bytes:
    """An answer."""
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def ended(number: int = 1, text: str = DEEP, **changes: Any) -> InferenceFinished:
    """A miss that was answered and has a candidate."""
    fields = {"calls": CALLED, "cache": MISS, "response": body(text), "model": "small"}
    return finished(number, **{**fields, **changes})


def cached(text: str = DEEP, **changes: Any) -> MemoryCache:
    """The exact cache with the candidate's answer."""
    entry = CacheEntry(
        fingerprint="f1" * 32,
        tenant="acme",
        request_id="entry-1",
        operation="chat",
        response=body(text),
    )
    cache = MemoryCache()
    cache.entries["f1" * 32] = encode_record(msgspec.structs.replace(entry, **changes))
    return cache


def judges(
    cache: MemoryCache,
    *,
    mode: SemanticMode = SemanticMode.VERIFIED,
    encoder: FakeEncoder | None = None,
) -> Judges:
    """Judges of one alias."""
    target = ModelTarget(provider="first", model="m")
    configuration = Configuration(models={"small": Model(targets=(target,), semantic=mode)})
    return Judges(
        cache=cache,
        modes=SemanticModes(configuration),
        encoder=encoder or FakeEncoder(),
        registry=CollectorRegistry(),
    )


async def verdicts(of: Judges, *ends: InferenceFinished) -> list[CandidateJudged]:
    """The judgements that are made."""
    events = [emit.event for emits in await of.judge(ends) for emit in emits]
    assert all(isinstance(event, CandidateJudged) for event in events)
    return [event for event in events if isinstance(event, CandidateJudged)]


@pytest.mark.parametrize(
    ("changes", "lesson"),
    [
        pytest.param({}, Compare("f1" * 32, was_served=False, weight=1.0), id="miss"),
        pytest.param(
            {"cache": SHADOW}, Compare("f1" * 32, was_served=True, weight=10.0), id="asked_again"
        ),
        pytest.param({"cache": CacheEvidence(semantic=KEY)}, NoCandidate(), id="no_candidate"),
        pytest.param(
            {"cache": msgspec.structs.replace(MISS, score=0.69)}, NoCandidate(), id="too_far"
        ),
        pytest.param(
            {"cache": msgspec.structs.replace(MISS, score=0.0)}, NoCandidate(), id="vetoed"
        ),
        pytest.param({"outcome": "failed"}, None, id="failed"),
        pytest.param({"calls": ()}, None, id="no_call"),
        pytest.param({"cache": CacheEvidence()}, None, id="not_compared"),
        pytest.param(
            {"cache": msgspec.structs.replace(MISS, outcome="semantic_hit")}, None, id="hit"
        ),
    ],
)
def test_what_there_is_to_learn(
    changes: dict[str, Any], lesson: Compare | NoCandidate | None
) -> None:
    """Misses with a candidate, re-asks, and that there was no candidate; nothing of others."""
    assert lesson_of(ended(**changes)) == lesson


@pytest.mark.parametrize(
    ("one", "other", "same", "differs"),
    [
        ("Yes.", "yes", True, False),
        ("Don\N{RIGHT SINGLE QUOTATION MARK}t  go!", "don't go", True, False),
        ("It costs 10 EUR", "It costs 100 EUR", False, True),
        ("You can do it", "You cannot do it", False, True),
        ("It isn't safe", "It is safe", False, True),
        ("On 2024-05-01 at 9", "At 9 on 2024-05-01", False, False),
        ("", "", False, False),
    ],
)
def test_texts(one: str, other: str, same: bool, differs: bool) -> None:  # noqa: FBT001
    """Form does not count; numbers and negations do, both ways round."""
    assert is_same_text(one, other) is is_same_text(other, one) is same
    assert differs_in_substance(one, other) is differs_in_substance(other, one) is differs


async def test_an_equal_answer_makes_the_candidate_right() -> None:
    """The judgement says of which candidate, at which score, and counts for one."""
    (judged,) = await verdicts(judges(cached()), ended())
    assert judged.is_right
    assert (judged.tenant, judged.entry_id, judged.scope) == ("acme", "entry-1", "scope-a")
    assert (judged.score, judged.was_served, judged.weight) == (0.93, False, 1.0)


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ("Is the sea 11 km deep at most.", True),
        ("The sea is 12 km deep at most.", False),
        ("The sea is not 11 km deep at most.", False),
        ("Nobody knows, 11 times over.", False),
        ("Das Meer ist höchstens 11 km tief.", False),
    ],
)
async def test_other_words(text: str, is_right: bool) -> None:  # noqa: FBT001
    """The same words in another order say the same; what is in doubt is wrong."""
    (judged,) = await verdicts(judges(cached()), ended(text=text))
    assert judged.is_right is is_right


async def test_without_an_encoder_other_words_are_wrong() -> None:
    """It is away: in doubt, the candidate was wrong."""
    encoder = FakeEncoder()
    encoder.is_available = False
    text = "Is the sea 11 km deep at most."
    (judged,) = await verdicts(judges(cached(), encoder=encoder), ended(text=text))
    assert not judged.is_right


async def test_a_re_ask_counts_for_the_hits_it_stands_for() -> None:
    """And says that the answer had been served."""
    (judged,) = await verdicts(judges(cached()), ended(cache=SHADOW))
    assert (judged.was_served, judged.weight) == (True, 10.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": "another"},
        {"fingerprint": "f2" * 32},
        {"operation": "embeddings"},
        {"response": b"{"},
    ],
)
async def test_what_is_not_the_candidates_answer_is_not_compared(changes: dict[str, Any]) -> None:
    """A store that mixes things up, or has none, teaches nothing."""
    assert await verdicts(judges(cached(**changes)), ended()) == []


async def test_an_answer_that_is_gone_makes_no_judgement() -> None:
    """Nor one that cannot be read."""
    assert await verdicts(judges(MemoryCache()), ended()) == []
    broken, away = cached(), cached()
    broken.entries["f1" * 32] = b"\xff"
    assert await verdicts(judges(broken), ended()) == []
    away.is_available = False
    assert await verdicts(judges(away), ended()) == []


async def test_other_modes_are_not_judged() -> None:
    """And the cache is not read for them."""
    cache = cached()
    assert await verdicts(judges(cache, mode=SemanticMode.GUARDED), ended()) == []
    assert cache.reads == []


async def test_requests_without_a_candidate_come_with_the_next_judgement() -> None:
    """Each once, tenant by tenant."""
    alone = CacheEvidence(semantic=KEY)
    judging = judges(cached())
    first = await verdicts(
        judging,
        ended(1, cache=alone),
        ended(2, cache=alone),
        ended(3, cache=alone, tenant="another"),
        ended(4),
    )
    assert [judged.without_candidate for judged in first] == [2]
    assert [judged.without_candidate for judged in await verdicts(judging, ended(5))] == [0]
