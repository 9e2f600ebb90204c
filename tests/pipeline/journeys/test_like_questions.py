"""Questions that mean the same as one that was answered before, and all that must not be mixed up.

The encoder of these tests counts words, so questions are alike that have the same words.
"""

import json
from typing import Any

import pytest

from services.cli.cache.decide import Selection
from services.cli.cache.purging import plan_purge, purge
from services.shared.codec.records import decode_record
from services.shared.domain.configuration import Cache, Configuration, Model
from services.shared.domain.configuration_semantic import Semantic, SemanticMode
from services.shared.domain.events import (
    AnswerCached,
    CachePolicy,
    InferenceFinished,
    InferenceRequested,
    UsageRecorded,
)
from services.shared.domain.topics import Topic
from tests.pipeline.journeys.travel import Travel, message_of, text_of
from tests.support.fake_clock import START_MS
from tests.support.fake_encoder import FakeEncoder
from tests.support.memory_entries import CacheDesk
from tests.support.pipeline import Pipeline
from tests.support.stages import configuration, publish

ASKED = "How do I reset the password of my mail account?"
LIKE = "how do I reset the password of my mail account?"
OTHER = "Where can I buy a bicycle in the old town?"


def settings(mode: SemanticMode = SemanticMode.GUARDED, **changes: Any) -> Configuration:
    """Aliases with a semantic tier."""
    return configuration(cache=Cache(semantic=Semantic(mode=mode, **changes)))


def travel_of(pipeline: Pipeline, conf: Configuration | None = None) -> Travel:
    """A pipeline with an encoder."""
    travel = Travel(pipeline, settings=settings() if conf is None else conf)
    travel.stages.encoder = FakeEncoder()
    return travel


def question(
    travel: Travel,
    number: int,
    text: str = ASKED,
    *,
    system: str = "",
    history: tuple[str, ...] = (),
    **changes: Any,
) -> InferenceRequested:
    """A request that asks something; every one has another fingerprint."""
    model = changes.get("model", "small")
    messages = [{"role": "system", "content": system}] if system else []
    for turn, said in enumerate(history):
        messages.append({"role": ("user", "assistant")[turn % 2], "content": said})
    messages.append({"role": "user", "content": text})
    body: dict[str, Any] = {"model": model, "messages": messages}
    if changes.get("stream"):
        body["stream"] = True
    return travel.request(number, body=json.dumps(body).encode(), **changes)


async def answered(travel: Travel, request: InferenceRequested) -> InferenceFinished:
    """How a request ends."""
    await travel.ask(request)
    return travel.end_of(request.request_id)


async def test_a_like_question_gets_the_answer_of_the_first(pipeline: Pipeline) -> None:
    """At no cost, with the evidence, under its own id, with a row in the ledger."""
    travel = travel_of(pipeline)
    await travel.start()
    first = await answered(travel, question(travel, 1))
    calls = len(travel.first.asked)
    await pipeline.advance(5)
    asked = question(travel, 2, LIKE)
    second = await answered(travel, asked)
    assert (first.cache.outcome, second.cache.outcome) == ("miss", "semantic_hit")
    assert len(travel.first.asked) == calls
    assert message_of(second) == message_of(first)
    assert (second.cache.source_request_id, second.cache.age_s) == (first.request_id, 5)
    assert second.cache.similarity == pytest.approx(1.0, abs=2e-3)
    assert (second.cost_nanousd, second.usage) == (0, first.usage)
    (chunk,) = travel.chunks_of(asked.request_id)
    assert chunk.headers["x-cache"] == "semantic_hit"
    assert chunk.headers["age"] == "5"
    assert chunk.headers["x-millrace-cache-source"] == first.request_id
    assert float(chunk.headers["x-millrace-cache-similarity"]) == pytest.approx(1.0, abs=2e-3)
    assert json.loads(chunk.payload)["id"] == f"chatcmpl-{asked.request_id}"
    rows = pipeline.read_output(Topic.USAGE_LEDGER)
    kinds = [(row.kind, row.request_id) for row in rows if isinstance(row, UsageRecorded)]
    assert ("hit", asked.request_id) in kinds


async def test_a_miss_says_what_came_closest(pipeline: Pipeline) -> None:
    """Its question travels to the writer, which announces the answer under it."""
    travel = travel_of(pipeline)
    await travel.start()
    first = await answered(travel, question(travel, 1))
    second = await answered(travel, question(travel, 2, OTHER))
    assert (first.cache.candidate_id, first.cache.similarity) == ("", 0.0)
    assert second.cache.outcome == "miss"
    assert second.cache.candidate_id == first.request_id
    assert 0 < second.cache.similarity < 0.9
    entries = pipeline.read_output(Topic.CACHE_ENTRIES)
    assert [entry.entry_id for entry in entries if isinstance(entry, AnswerCached)] == [
        first.request_id,
        second.request_id,
    ]
    announced = entries[1]
    assert isinstance(announced, AnswerCached)
    assert announced.semantic == second.cache.semantic
    assert announced.semantic is not None
    assert len(announced.semantic.vector) == 2 * 384


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"tenant": "other"}, id="tenant"),
        pytest.param({"model": "only"}, id="model"),
        pytest.param({"system": "Answer in French."}, id="system_prompt"),
        pytest.param({"history": ("Hello.", "Hello, what is it?")}, id="history"),
        pytest.param({"cache_policy": CachePolicy(namespace="mine")}, id="namespace"),
        pytest.param({"cache_policy": CachePolicy(no_semantic=True)}, id="no_semantic"),
        pytest.param({"cache_policy": CachePolicy(no_cache=True)}, id="no_cache"),
        pytest.param({"cache_policy": CachePolicy(max_age_s=2)}, id="max_age"),
        pytest.param({"temperature": 1.5}, id="temperature"),
        pytest.param({"has_tools": True}, id="tools"),
        pytest.param({"has_images": True}, id="images"),
    ],
)
async def test_what_differs_elsewhere_is_another_question(
    pipeline: Pipeline, changes: dict[str, Any]
) -> None:
    """However alike the words are."""
    travel = travel_of(pipeline)
    await travel.start()
    await travel.ask(question(travel, 1))
    await pipeline.advance(5)
    second = await answered(travel, question(travel, 2, LIKE, **changes))
    assert second.cache.outcome in {"miss", "bypass"}
    assert second.cache.source_request_id == ""


async def test_callers_may_demand_more_likeness(pipeline: Pipeline) -> None:
    """They raise the threshold, never lower it."""
    travel = travel_of(pipeline, settings(threshold=0.9))
    await travel.start()
    longer = ASKED.replace("mail", "mail and calendar")
    await travel.ask(question(travel, 1))
    strict = await answered(
        travel, question(travel, 2, longer, cache_policy=CachePolicy(min_similarity=0.99))
    )
    assert strict.cache.outcome == "miss"
    assert 0.8 < strict.cache.similarity < 0.99
    lax = question(travel, 3, OTHER, cache_policy=CachePolicy(min_similarity=0.01))
    assert (await answered(travel, lax)).cache.outcome == "miss"


@pytest.mark.parametrize("mode", [SemanticMode.OFF, SemanticMode.VERIFIED])
async def test_a_mode_that_proves_nothing_serves_nothing(
    pipeline: Pipeline, mode: SemanticMode
) -> None:
    """Off compares nothing; verified compares, and nothing is known of this tenant yet."""
    travel = travel_of(pipeline, settings(mode))
    await travel.start()
    await travel.ask(question(travel, 1))
    second = await answered(travel, question(travel, 2, LIKE))
    assert second.cache.outcome == "miss"
    assert bool(second.cache.candidate_id) is (mode is SemanticMode.VERIFIED)


async def test_an_alias_may_have_a_mode_of_its_own(pipeline: Pipeline) -> None:
    """It goes before the common one."""
    plain = configuration()
    models = {
        name: Model(targets=model.targets, semantic=SemanticMode.STRICT)
        if name == "small"
        else model
        for name, model in plain.models.items()
    }
    travel = travel_of(pipeline, configuration(models=models))
    await travel.start()
    for number, model in enumerate(("small", "small", "only", "only"), start=1):
        text = ASKED if number % 2 else LIKE
        end = await answered(travel, question(travel, number, text, model=model))
        hits = (model, number % 2) == ("small", 0)
        assert end.cache.outcome == ("semantic_hit" if hits else "miss")


async def test_streams_are_served_as_streams(pipeline: Pipeline) -> None:
    """Whichever way the first was asked for."""
    travel = travel_of(pipeline)
    await travel.start()
    whole = await answered(travel, question(travel, 1))
    asked = question(travel, 2, LIKE, stream=True)
    streamed = await answered(travel, asked)
    assert streamed.cache.outcome == "semantic_hit"
    assert text_of(travel.chunks_of(asked.request_id)) == message_of(whole)


async def test_an_encoder_that_is_away_is_a_miss(pipeline: Pipeline) -> None:
    """Exact hits go on."""
    travel = travel_of(pipeline)
    encoder = travel.stages.encoder = FakeEncoder()
    await travel.start()
    await travel.ask(question(travel, 1))
    encoder.is_available = False
    like, same = question(travel, 2, LIKE), question(travel, 3, fingerprint=f"{1:064x}")
    await travel.ask(like, same)
    assert travel.end_of(like.request_id).cache.outcome == "miss"
    assert travel.end_of(same.request_id).cache.outcome == "exact_hit"


async def test_a_lost_body_is_a_miss_and_its_entry_is_forgotten(pipeline: Pipeline) -> None:
    """The new answer takes its place."""
    travel = travel_of(pipeline)
    await travel.start()
    await travel.ask(question(travel, 1))
    travel.stages.cache.entries.clear()
    again = await answered(travel, question(travel, 2, LIKE))
    assert (again.cache.outcome, again.cache.candidate_id) == ("miss", "request-00000001")
    third = await answered(travel, question(travel, 3, LIKE.upper()))
    assert (third.cache.outcome, third.cache.source_request_id) == (
        "semantic_hit",
        "request-00000002",
    )


async def test_a_body_of_another_tenant_is_not_served(pipeline: Pipeline) -> None:
    """A store that mixes up keys shows nobody another's answer."""
    travel = travel_of(pipeline)
    await travel.start()
    await travel.ask(question(travel, 1, tenant="acme"))
    foreign = question(travel, 2, OTHER, tenant="other")
    await travel.ask(foreign)
    entries = travel.stages.cache.entries
    entries[f"{1:064x}"] = entries[foreign.fingerprint]
    third = await answered(travel, question(travel, 3, LIKE))
    assert third.cache.outcome == "miss"


async def test_a_tombstone_purges_an_entry(pipeline: Pipeline) -> None:
    """Every look-up forgets it."""
    travel = travel_of(pipeline)
    await travel.start()
    await travel.ask(question(travel, 1))
    pipeline.pipe_raw(Topic.CACHE_ENTRIES, None, key=b"request-00000001")
    await pipeline.run_until_quiet()
    second = await answered(travel, question(travel, 2, LIKE))
    assert (second.cache.outcome, second.cache.candidate_id) == ("miss", "")


async def test_a_new_process_knows_what_was_answered_before(pipeline: Pipeline) -> None:
    """It reads all entries from the start, without those that were purged."""
    travel = travel_of(pipeline)
    await travel.start()
    await travel.ask(question(travel, 1), question(travel, 2, OTHER))
    pipeline.pipe_raw(Topic.CACHE_ENTRIES, None, key=b"request-00000002")
    (old,) = [it for it in pipeline.processes if it.stage.service == "cache-lookup"]
    await old.stop()
    await pipeline.start(old.stage)
    await pipeline.advance(1)
    assert (await answered(travel, question(travel, 3, LIKE))).cache.outcome == "semantic_hit"
    assert (await answered(travel, question(travel, 4, OTHER.lower()))).cache.outcome == "miss"


async def test_what_is_no_entry_does_not_stop_the_reading(pipeline: Pipeline) -> None:
    """It is passed over."""
    travel = travel_of(pipeline)
    pipeline.pipe_raw(Topic.CACHE_ENTRIES, b"spoilt", key=b"request-spoilt")
    await travel.start()
    await travel.ask(question(travel, 1))
    assert (await answered(travel, question(travel, 2, LIKE))).cache.outcome == "semantic_hit"


async def test_like_questions_of_one_poll_are_encoded_once_and_identical_ones_share_a_call(
    pipeline: Pipeline,
) -> None:
    """Single-flight is as it was."""
    travel = travel_of(pipeline)
    encoder = travel.stages.encoder = FakeEncoder()
    await travel.start()
    for number in (1, 2, 3):
        publish(pipeline, question(travel, number, fingerprint="f" * 64))
    await pipeline.run_until_quiet()
    ends = [travel.end_of(f"request-{number:08d}").cache.outcome for number in (1, 2, 3)]
    assert sorted(ends) == ["joined", "joined", "miss"]
    assert all(len(texts) == len(set(texts)) for texts in encoder.calls)


async def test_a_repeated_question_past_the_cache_renews_the_answer(pipeline: Pipeline) -> None:
    """The body under the fingerprint is the newest; the entry that names its question serves it."""
    travel = travel_of(pipeline)
    await travel.start()
    await travel.ask(question(travel, 1, fingerprint="f" * 64))
    fresh = CachePolicy(no_cache=True)
    await travel.ask(question(travel, 2, fingerprint="f" * 64, cache_policy=fresh))
    third = await answered(travel, question(travel, 3, LIKE))
    assert (third.cache.outcome, third.cache.source_request_id) == (
        "semantic_hit",
        "request-00000002",
    )


async def test_every_answer_that_is_kept_is_announced(pipeline: Pipeline) -> None:
    """Those that are found exactly only, too: a purge has to see them."""
    travel = travel_of(pipeline)
    await travel.start()
    await travel.ask(question(travel, 1, temperature=1.9))
    (raw,) = pipeline.read_records(Topic.CACHE_ENTRIES)
    entry = decode_record(raw.value or b"", AnswerCached)
    assert entry.semantic is None
    assert raw.key == entry.entry_id.encode() == b"request-00000001"
    assert entry.fingerprint in travel.stages.cache.entries


@pytest.mark.parametrize(
    "selection",
    [
        pytest.param(Selection(ids=frozenset({"request-00000001"})), id="purge"),
        pytest.param(Selection(since_ms=int(START_MS)), id="rollback"),
    ],
)
async def test_what_was_purged_is_asked_again(pipeline: Pipeline, selection: Selection) -> None:
    """By its own words and by others; nothing of it is left in the exact cache."""
    travel = travel_of(pipeline)
    await travel.start()
    await travel.ask(question(travel, 1))
    table = CacheDesk(pipeline.cluster, travel.stages.cache, now_ms=pipeline.clock.now_ms())
    await purge(table.desk, await plan_purge(table.desk, selection))
    assert travel.stages.cache.entries == {}
    await pipeline.run_until_quiet()
    like = await answered(travel, question(travel, 2, LIKE))
    assert (like.cache.outcome, like.cache.candidate_id) == ("miss", "")
    same = await answered(travel, question(travel, 3, fingerprint=f"{1:064x}"))
    assert same.cache.source_request_id == "request-00000002"


async def test_a_rollback_leaves_what_was_there_before(pipeline: Pipeline) -> None:
    """It purges what was admitted at the time or later, and nothing else."""
    travel = travel_of(pipeline)
    await travel.start()
    await travel.ask(question(travel, 1))
    await pipeline.advance(60)
    then_ms = int(pipeline.clock.now_ms())
    await travel.ask(question(travel, 2, OTHER))
    table = CacheDesk(pipeline.cluster, travel.stages.cache, now_ms=pipeline.clock.now_ms())
    await purge(table.desk, await plan_purge(table.desk, Selection(since_ms=then_ms)))
    await pipeline.run_until_quiet()
    assert (await answered(travel, question(travel, 3, LIKE))).cache.outcome == "semantic_hit"
    assert (await answered(travel, question(travel, 4, OTHER.lower()))).cache.outcome == "miss"
