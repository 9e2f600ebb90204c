"""The verified mode through all stages: nothing on trust, evidence by fresh answers, re-asks."""

import json
from typing import Any

import pytest

from services.cache_lookup.verified.reask import SUFFIX, draw_of
from services.shared.codec.records import decode_record
from services.shared.domain.configuration import Cache
from services.shared.domain.configuration_semantic import Semantic, SemanticMode
from services.shared.domain.events import (
    AnswerCached,
    CandidateJudged,
    InferenceFinished,
    InferenceRequested,
    UsageRecorded,
)
from services.shared.domain.topics import Topic
from tests.pipeline.journeys.travel import Travel
from tests.support.example_events import request_id
from tests.support.fake_encoder import FakeEncoder
from tests.support.pipeline import Pipeline
from tests.support.scripted_provider import Asked, Script, ScriptedProvider, whole
from tests.support.stages import configuration

ASKED = "How do I reset the password of my mail account?"
LIKE = "how do I reset the password of my mail account?"
DRAWN = next(it for it in range(10, 1_000) if draw_of(request_id(it)) < 0.1)
NOT_DRAWN = next(it for it in range(10, 1_000) if draw_of(request_id(it)) > 0.9)


def travel_of(pipeline: Pipeline, provider: ScriptedProvider | None = None) -> Travel:
    """A pipeline in the verified mode."""
    cache = Cache(semantic=Semantic(mode=SemanticMode.VERIFIED))
    travel = Travel(pipeline, first=provider, settings=configuration(cache=cache))
    travel.stages.encoder = FakeEncoder()
    return travel


def question(travel: Travel, number: int, text: str, **changes: Any) -> InferenceRequested:
    """A request that asks something."""
    body = {"model": "small", "messages": [{"role": "user", "content": text}]}
    return travel.request(number, body=json.dumps(body).encode(), **changes)


async def ask(travel: Travel, number: int, text: str, **changes: Any) -> InferenceFinished:
    """How a request ends."""
    request = question(travel, number, text, **changes)
    await travel.ask(request)
    return travel.end_of(request.request_id)


def judgements(pipeline: Pipeline) -> list[CandidateJudged]:
    """What was judged since the last look."""
    found = pipeline.read_output(Topic.CACHE_JUDGEMENTS)
    return [event for event in found if isinstance(event, CandidateJudged)]


async def give_evidence(pipeline: Pipeline) -> None:
    """Let the look-up hear of enough right candidates of the tenant."""
    pipeline.pipe_input(
        Topic.CACHE_JUDGEMENTS,
        CandidateJudged(
            request_id="earlier-1",
            tenant="acme",
            entry_id="earlier-0",
            scope="scope",
            score=0.9,
            is_right=True,
            was_served=False,
            weight=1.0,
            at=1,
            without_candidate=400,
        ),
        key=b"acme",
        headers=[],
    )
    await pipeline.run_until_quiet()
    await pipeline.advance(2)
    judgements(pipeline)


async def test_without_evidence_a_like_question_is_a_miss_that_teaches(pipeline: Pipeline) -> None:
    """Its fresh answer is compared with the candidate's, and one request more has no candidate."""
    travel = travel_of(pipeline)
    await travel.start()
    first = await ask(travel, 1, ASKED)
    second = await ask(travel, 2, LIKE)
    assert (first.cache.outcome, second.cache.outcome) == ("miss", "miss")
    (judged,) = judgements(pipeline)
    assert (judged.request_id, judged.entry_id) == (second.request_id, first.request_id)
    assert judged.is_right
    assert (judged.was_served, judged.weight, judged.without_candidate) == (False, 1.0, 1)
    assert judged.score > 0.99


async def test_a_hit_that_is_drawn_is_asked_again(pipeline: Pipeline) -> None:
    """In the background, on the tenant's bill, kept by nobody; it is judged as a hit."""
    travel = travel_of(pipeline)
    await travel.start()
    first = await ask(travel, 1, ASKED)
    await give_evidence(pipeline)
    kept = dict(travel.stages.cache.entries)
    hit = await ask(travel, DRAWN, LIKE, stream=False)
    assert hit.cache.outcome == "semantic_hit"
    shadow = travel.end_of(hit.request_id + SUFFIX)
    assert (shadow.outcome, shadow.cache.outcome) == ("completed", "bypass")
    assert (shadow.cache.shadow_of, shadow.tenant) == (hit.request_id, "acme")
    assert travel.chunks_of(shadow.request_id) == []
    assert travel.stages.cache.entries == kept
    (judged,) = judgements(pipeline)
    assert (judged.request_id, judged.entry_id) == (shadow.request_id, first.request_id)
    assert judged.was_served
    assert judged.is_right
    assert judged.weight == pytest.approx(1.51, abs=0.01)
    rows = pipeline.read_output(Topic.USAGE_LEDGER)
    billed = [row for row in rows if isinstance(row, UsageRecorded) and "shadow" in row.request_id]
    assert [(row.kind, row.feature, row.key_id) for row in billed] == [
        ("attempt", "cache-shadow", hit.key_id)
    ]
    announced = [decode_record(it.value or b"", AnswerCached).entry_id for it in entries(pipeline)]
    assert announced == [first.request_id]


async def test_a_hit_that_is_not_drawn_is_served_and_no_more(pipeline: Pipeline) -> None:
    """No call, no judgement."""
    travel = travel_of(pipeline)
    await travel.start()
    await ask(travel, 1, ASKED)
    await give_evidence(pipeline)
    calls = len(travel.first.asked)
    hit = await ask(travel, NOT_DRAWN, LIKE)
    assert hit.cache.outcome == "semantic_hit"
    assert len(travel.first.asked) == calls
    assert judgements(pipeline) == []


async def test_a_wrong_hit_is_served_no_more(pipeline: Pipeline) -> None:
    """Once the fresh answer has shown it, the next like question goes to the model."""
    answers = ["Under settings.", "There are 2 ways.", "There are 3 ways."]

    def in_turn(_asked: Asked) -> Script:
        return whole(answers.pop(0))

    travel = travel_of(pipeline, ScriptedProvider(in_turn))
    await travel.start()
    await ask(travel, 1, ASKED)
    await give_evidence(pipeline)
    hit = await ask(travel, DRAWN, LIKE)
    assert hit.cache.outcome == "semantic_hit"
    (judged,) = judgements(pipeline)
    assert not judged.is_right
    await pipeline.advance(2)
    again = await ask(travel, 2, "How  do I reset the Password of my mail account?")
    assert again.cache.outcome == "miss"


def entries(pipeline: Pipeline) -> list[Any]:
    """Records of the cache's entries."""
    return list(pipeline.read_records(Topic.CACHE_ENTRIES))
