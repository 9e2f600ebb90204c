"""Embeddings whose inputs were embedded before."""

import json
from typing import Any

import msgspec
import pytest

from services.model_caller.embedded_inputs import CACHED_HEADER, keys_of
from services.model_caller.embeddings import inputs_of
from services.shared.domain.configuration import Cache, Model, ModelTarget
from services.shared.domain.events import CachePolicy, RequestRouted
from services.shared.domain.ledger import fold
from services.shared.domain.money import Price
from tests.support.example_events import request_id, requested
from tests.support.scripted_provider import Asked, Script, ScriptedProvider, embedded, refused
from tests.unit.model_caller.callers import TARGETS, Caller, Served, embedding, merged

KEEPING = Cache()


def texts(*inputs: Any, **fields: Any) -> bytes:
    """A body."""
    return json.dumps({"model": "e", "input": list(inputs), **fields}).encode()


def vectors(served: Served, number: int) -> list[Any]:
    """The embeddings that a request got."""
    document = json.loads(served.of(request_id(number)).response)
    assert [item["index"] for item in document["data"]] == list(range(len(document["data"])))
    return [item["embedding"] for item in document["data"]]


def header(served: Served, number: int) -> str:
    """What a request's client is told of its inputs."""
    (chunk,) = [it for it in served.chunks if it.request_id == request_id(number)]
    return chunk.headers.get(CACHED_HEADER, "")


async def caller_that_embedded(
    *inputs: Any, play: Any = embedded, **changes: Any
) -> tuple[Caller, ScriptedProvider]:
    """A caller that was asked for these inputs before."""
    provider = ScriptedProvider(play)
    caller = Caller({"first": provider, "second": provider}, cache=KEEPING)
    await caller.serve(merged(embedding(1, texts(*inputs), **changes)))
    await caller.embedded.settle()
    provider.asked.clear()
    return caller, provider


async def test_only_what_is_missing_is_asked_for_and_paid() -> None:
    """The answer is whole and in order; what was known is told and counted as saved."""
    caller, provider = await caller_that_embedded("aa", "bbb")
    served = await caller.serve(merged(embedding(2, texts("bbb", "cccc", "aa", "bbb"))))
    (asked,) = provider.asked
    assert asked.body["input"] == ["cccc"]
    assert vectors(served, 2) == [[3.0], [4.0], [2.0], [3.0]]
    assert header(served, 2) == "3/4"
    (row,) = served.rows
    assert (row.kind, row.usage.input_tokens, row.cost_nanousd) == ("attempt", 3, 3_000)
    finished = served.of(request_id(2))
    assert finished.cost_nanousd == 3_000
    assert finished.usage.input_tokens == 3 + 6
    assert row.saved_nanousd == 6_000
    assert json.loads(finished.response)["usage"]["prompt_tokens"] == 9


async def test_no_call_is_made_when_all_is_known() -> None:
    """The ledger has a hit, with what it saved; the attempt log an end; nobody is called."""
    caller, provider = await caller_that_embedded("aa", "bbb")
    served = await caller.serve(merged(embedding(2, texts("bbb", "aa"))))
    assert provider.asked == []
    assert vectors(served, 2) == [[3.0], [2.0]]
    (row,) = served.rows
    assert (row.kind, row.cost_nanousd, row.saved_nanousd) == ("hit", 0, 6_000)
    assert row.row_id == f"{request_id(2)}-0"
    (chunk,) = served.chunks
    assert (chunk.headers["x-cache"], chunk.headers[CACHED_HEADER]) == ("exact_hit", "2/2")
    assert [it.kind for it in served.attempts] == ["finished"]
    finished = served.of(request_id(2))
    assert (finished.cache.outcome, finished.calls) == ("exact_hit", ())
    assert len(fold(served.rows)) == 1


async def test_a_request_that_comes_again_is_not_looked_up_again() -> None:
    """Its end stands in the attempt log."""
    caller, _ = await caller_that_embedded("aa")
    first = embedding(2, texts("aa"))
    await caller.serve(merged(first))
    caller.cache.reads.clear()
    assert caller.index.find(request_id(2)) is not None
    assert caller.cache.reads == []


async def test_members_that_are_known_leave_a_merged_call() -> None:
    """The others share it."""
    caller, provider = await caller_that_embedded("aa")
    members = [embedding(2, texts("aa")), embedding(3, texts("c")), embedding(4, texts("dd"))]
    served = await caller.serve(merged(*members))
    (asked,) = provider.asked
    assert asked.body["input"] == ["c", "dd"]
    assert [vectors(served, i) for i in (2, 3, 4)] == [[[2.0]], [[1.0]], [[2.0]]]
    assert {row.request_id: row.kind for row in served.rows} == {
        request_id(2): "hit",
        request_id(3): "attempt",
        request_id(4): "attempt",
    }
    assert len(caller.cache.reads[-1]) == 3


async def test_both_encodings_are_served_from_one_vector() -> None:
    """What was sent as numbers is found as base64."""
    caller, provider = await caller_that_embedded("aa")
    served = await caller.serve(merged(embedding(2, texts("aa", encoding_format="base64"))))
    assert provider.asked == []
    assert vectors(served, 2) == ["AAAAQA=="]


@pytest.mark.parametrize("inputs", [([1, 2], [3]), ("a", "ä\\u00e9"), ([7],)])
async def test_tokens_are_inputs_too(inputs: tuple[Any, ...]) -> None:
    """Whatever an input is, it is known again."""
    caller, provider = await caller_that_embedded(*inputs)
    await caller.serve(merged(embedding(2, texts(*inputs))))
    assert provider.asked == []


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({}, {"tenant": "another"}),
        ({}, {"cache_policy": CachePolicy(namespace="n")}),
        ({}, {"cache_policy": CachePolicy(no_cache=True)}),
        ({}, {"body": texts("aa", dimensions=8)}),
        ({}, {"targets": TARGETS[1:]}),
        ({"cache_policy": CachePolicy(no_store=True)}, {}),
    ],
)
async def test_what_is_not_the_same_or_not_wanted_is_asked_for(
    first: dict[str, Any], then: dict[str, Any]
) -> None:
    """Other tenants, namespaces, parameters and models have vectors of their own."""
    caller, provider = await caller_that_embedded("aa", **first)
    changes = {"body": texts("aa"), **then}
    await caller.serve(merged(embedding(2, changes.pop("body"), **changes)))
    assert len(provider.asked) == 1


async def test_a_vector_that_is_too_old_for_a_request_is_asked_for() -> None:
    """``max-age`` holds for vectors as for answers."""
    caller, provider = await caller_that_embedded("aa")
    for number, (max_age_s, calls) in enumerate([(10, 0), (0, 1)], start=2):
        policy = CachePolicy(max_age_s=max_age_s, no_cache=max_age_s == 0)
        await caller.serve(merged(embedding(number, texts("aa"), cache_policy=policy)))
        assert len(provider.asked) == calls


async def test_a_cache_that_is_away_knows_nothing_and_breaks_nothing() -> None:
    """Neither looking up nor keeping is needed for an answer; what was lost is counted."""
    caller, provider = await caller_that_embedded("aa")
    caller.cache.is_available = False
    served = await caller.serve(merged(embedding(2, texts("aa"))))
    await caller.embedded.settle()
    assert served.one.outcome == "completed"
    assert len(provider.asked) == 1
    lost = {
        what: caller.registry.get_sample_value(
            "millrace_embedded_inputs_lost_total", {"what": what}
        )
        for what in ("looked_up", "kept")
    }
    assert lost == {"looked_up": 1, "kept": 1}


@pytest.mark.parametrize(
    ("cache", "alias_ttl_s"),
    [
        (Cache(embedded_inputs_ttl_s=0), None),
        (Cache(enabled=False), None),
        (Cache(), 0),
    ],
)
async def test_nothing_is_kept_where_it_is_switched_off(
    cache: Cache, alias_ttl_s: int | None
) -> None:
    """By time to live, for everything, or by alias."""
    provider = ScriptedProvider(embedded)
    model = Model(targets=(ModelTarget(provider="first"),), cache_ttl_s=alias_ttl_s)
    caller = Caller({"first": provider}, cache=cache, models={"small": model})
    for number in (1, 2):
        await caller.serve(merged(embedding(number, texts("aa"), model="small")))
        await caller.embedded.settle()
    assert len(provider.asked) == 2
    assert caller.cache.entries == {}


async def test_the_time_to_live_is_the_shorter_of_the_two() -> None:
    """That of vectors, and that of the alias."""
    model = Model(targets=(ModelTarget(provider="first"),), cache_ttl_s=60)
    caller = Caller({"first": ScriptedProvider(embedded)}, cache=KEEPING, models={"small": model})
    await caller.serve(merged(embedding(1, texts("a"), model="small")))
    await caller.serve(merged(embedding(2, texts("b"), model="other")))
    await caller.embedded.settle()
    assert sorted(caller.cache.ttl_s.values()) == [60, 86_400]


async def test_a_fallback_embeds_everything_itself() -> None:
    """Vectors of two models never stand in one answer."""

    def play(asked: Asked) -> Script:
        return refused(401) if asked.body["model"] == "one" else embedded(asked)

    caller, provider = await caller_that_embedded("aa")
    provider._play = play  # the first provider has lost its key since
    served = await caller.serve(merged(embedding(2, texts("aa", "b"), targets=TARGETS)))
    assert [asked.body["input"] for asked in provider.asked] == [["b"], ["aa", "b"]]
    assert header(served, 2) == "0/2"
    assert served.rows[-1].saved_nanousd == 0


async def test_what_is_no_vector_is_not_kept() -> None:
    """It is handed on as it came, and asked for again."""

    def play(asked: Asked) -> Script:
        data = [{"index": i, "embedding": "!"} for i in range(len(asked.body["input"]))]
        return Script(frames=(msgspec.json.encode({"data": data}),))

    caller, provider = await caller_that_embedded("aa", play=play)
    await caller.serve(merged(embedding(2, texts("aa"))))
    assert len(provider.asked) == 1
    assert caller.cache.entries == {}


async def test_a_damaged_entry_is_missing() -> None:
    """Somebody else wrote under our key."""
    caller, provider = await caller_that_embedded("aa")
    caller.cache.entries = dict.fromkeys(caller.cache.entries, b"?")
    await caller.serve(merged(embedding(2, texts("aa"))))
    assert len(provider.asked) == 1


async def test_a_split_keeps_what_is_known() -> None:
    """One bad member fails alone, and the known inputs of the others stay known."""

    def play(asked: Asked) -> Script:
        return refused(400) if "bad" in asked.body["input"] else embedded(asked)

    caller, provider = await caller_that_embedded("aa", play=play)
    members = [
        embedding(2, texts("aa", "b")),
        embedding(3, texts("bad")),
        embedding(4, texts("aa", "c")),
    ]
    served = await caller.serve(merged(*members))
    assert {it.outcome for it in served.finished} == {"completed", "failed"}
    assert vectors(served, 4) == [[2.0], [1.0]]
    assert all("aa" not in asked.body["input"] for asked in provider.asked)


async def test_a_cancelled_request_is_not_served_from_the_cache() -> None:
    """Who gave up is told so, at no cost."""
    caller, provider = await caller_that_embedded("aa")
    one: RequestRouted = embedding(2, texts("aa"))
    caller.cache.read = _cancelling(caller, one, caller.cache.read)  # type: ignore[method-assign]
    served = await caller.serve(merged(one))
    assert served.one.outcome == "cancelled"
    assert provider.asked == []


def _cancelling(caller: Caller, one: RequestRouted, read: Any) -> Any:
    async def reads(keys: Any) -> Any:
        caller.cancel(one.request)
        return await read(keys)

    return reads


def test_keys_differ_in_every_part() -> None:
    """No two lists of parts are the same bytes."""
    target = TARGETS[0]

    def key(body: bytes = texts("ab"), *, to: Any = target, **changes: Any) -> str:
        request = requested(operation="embeddings", body=body, **changes)
        return keys_of(request, inputs_of(body), to)[inputs_of(body)[0]]

    keys = [
        key(),
        key(texts("a")),
        key(texts("ab", dimensions=2)),
        key(tenant="x"),
        key(cache_policy=CachePolicy(namespace="x")),
        key(to=msgspec.structs.replace(target, provider="x")),
        key(to=msgspec.structs.replace(target, model="x")),
    ]
    assert len(set(keys)) == len(keys)
    same = msgspec.structs.replace(target, price=Price(version="x"))
    assert key(texts("ab", user="u", encoding_format="base64"), to=same) == keys[0]
