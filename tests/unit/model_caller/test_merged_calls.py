"""Embeddings of several requests in one call, and what becomes of a call that fails."""

import json
from typing import Any

import msgspec
import pytest

from services.shared.domain.configuration import Retries
from services.shared.domain.money import Price
from tests.support.example_events import request_id
from tests.support.fake_clock import START_MS
from tests.support.scripted_provider import (
    FOREVER,
    Asked,
    Script,
    ScriptedProvider,
    embedded,
    refused,
)
from tests.unit.model_caller.callers import TARGETS, Caller, Served, embedding, merged


def texts(*inputs: str, **fields: Any) -> bytes:
    """A body."""
    return json.dumps({"model": "e", "input": list(inputs), **fields}).encode()


def rejecting(word: str) -> ScriptedProvider:
    """A provider that answers 400 to every call with this input."""

    def play(asked: Asked) -> Script:
        if word in asked.body["input"]:
            return refused(400, message="Bad input.")
        return embedded(asked)

    return ScriptedProvider(play)


def vectors(served: Served, number: int) -> list[list[float]]:
    """The embeddings that a request got."""
    document = json.loads(served.of(request_id(number)).response)
    return [item["embedding"] for item in document["data"]]


async def test_one_call_serves_the_whole_batch() -> None:
    """Each member gets its own; what it cost is shared out to the token."""
    provider = ScriptedProvider(embedded)
    members = [embedding(i, texts("x" * i, "same")) for i in range(1, 6)]
    served = await Caller({"first": provider}).serve(merged(*members))
    (asked,) = provider.asked
    assert asked.path == "/embeddings"
    assert asked.body["input"] == ["x", "same", "xx", "xxx", "xxxx", "xxxxx"]
    assert asked.body["model"] == "one"
    for i in range(1, 6):
        assert vectors(served, i) == [[float(i)], [4.0]]
    assert sum(finished.usage.input_tokens for finished in served.finished) == 18
    assert sum(finished.cost_nanousd for finished in served.finished) == 18 * 1_000
    assert [chunk.kind for chunk in served.chunks] == ["end"] * 5
    assert {len(finished.calls) for finished in served.finished} == {1}


async def test_one_bad_member_fails_alone_after_few_calls() -> None:
    """The batch is halved until the bad one is alone; the others keep sharing calls."""
    provider = rejecting("bad")
    members = [embedding(i, texts("bad" if i == 37 else f"t{i}")) for i in range(64)]
    served = await Caller({"first": provider}).serve(merged(*members))
    bad = served.of(request_id(37))
    assert bad.error is not None
    assert (bad.error.code, bad.error.message) == ("provider_rejected", "Bad input.")
    assert {it.outcome for it in served.finished if it is not bad} == {"completed"}
    assert len(served.finished) == 64
    assert len(provider.asked) == 1 + 2 * 6
    attempts = [asked.headers["x-millrace-attempt-id"] for asked in provider.asked]
    assert len(set(attempts)) == len(attempts)
    assert [call.attempt for call in bad.calls] == list(range(1, 8))
    assert served.of(request_id(36)).calls[-1].error_code == ""


async def test_a_call_that_breaks_the_provider_is_repeated_not_taken_apart() -> None:
    """A provider that is down is not asked once for each member."""
    provider = ScriptedProvider([refused(503)])
    members = [embedding(i, texts(f"t{i}")) for i in range(8)]
    served = await Caller({"first": provider}).serve(merged(*members))
    assert len(provider.asked) == 3
    assert {it.error.code for it in served.finished if it.error} == {"provider_overloaded"}
    assert len(served.finished) == 8


async def test_half_an_answer_is_taken_apart() -> None:
    """An answer that lacks embeddings may be one member's doing."""

    def play(asked: Asked) -> Script:
        script = embedded(asked)
        if len(asked.body["input"]) > 2:
            document = json.loads(bytes(script.frames[0]))  # type: ignore[arg-type]
            document["data"].pop()
            return Script(frames=(msgspec.json.encode(document),))
        return script

    provider = ScriptedProvider(play)
    members = [embedding(i, texts(f"t{i}")) for i in range(4)]
    served = await Caller({"first": provider}).serve(merged(*members))
    assert {it.outcome for it in served.finished} == {"completed"}
    assert len(provider.asked) == 3


async def test_a_member_that_expires_during_the_call_expires_alone() -> None:
    """The nearest deadline cuts the call; the others are asked for again, without it."""

    def play(asked: Asked) -> Script:
        if "slow" in asked.body["input"]:
            return Script(before=[FOREVER])
        return embedded(asked)

    members = [
        embedding(1, texts("slow"), deadline_at=int(START_MS) + 500),
        *(embedding(i, texts(f"t{i}")) for i in (2, 3, 4)),
    ]
    served = await Caller({"first": ScriptedProvider(play)}).serve(merged(*members))
    assert served.of(request_id(1)).outcome == "expired"
    assert {served.of(request_id(i)).outcome for i in (2, 3, 4)} == {"completed"}


@pytest.mark.parametrize("field", [{"dimensions": 8}, {"encoding_format": "base64"}])
async def test_calls_that_differ_in_more_than_inputs_are_not_shared(field: dict[str, Any]) -> None:
    """A batch holds what the lane holds; the call holds what may be asked at once."""
    provider = ScriptedProvider(embedded)
    members = [
        embedding(1, texts("a")),
        embedding(2, texts("b", **field)),
        embedding(3, texts("c")),
    ]
    served = await Caller({"first": provider}).serve(merged(*members))
    assert sorted(asked.body["input"] for asked in provider.asked) == [["a", "c"], ["b"]]
    assert len(served.finished) == 3


async def test_members_of_other_targets_share_a_call_but_neither_prices_nor_fallbacks() -> None:
    """Nobody falls back to where he may not go, nor pays another's price."""
    dear = msgspec.structs.replace(TARGETS[0], price=Price(input_nanousd_per_mtok=9_000_000_000))
    provider = ScriptedProvider(embedded)
    members = [
        embedding(1, texts("a")),
        embedding(2, texts("b"), targets=TARGETS),
        embedding(3, texts("c"), targets=(dear,)),
    ]
    served = await Caller({"first": provider}).serve(merged(*members))
    assert len(provider.asked) == 1
    costs = [served.of(request_id(i)).cost_nanousd for i in (1, 2, 3)]
    assert costs == [3 * 1_000, 3 * 1_000, 3 * 9_000]
    provider = ScriptedProvider([refused(401)])
    served = await Caller({"first": provider, "second": ScriptedProvider(embedded)}).serve(
        merged(*members)
    )
    assert [served.of(request_id(i)).outcome for i in (1, 2, 3)] == [
        "failed",
        "completed",
        "failed",
    ]


async def test_a_merged_call_falls_back_as_one() -> None:
    """All members go to the next target together."""
    providers = {
        "first": ScriptedProvider([refused(401)]),
        "second": ScriptedProvider(embedded),
    }
    members = [embedding(i, texts(f"t{i}"), targets=TARGETS) for i in range(5)]
    served = await Caller(providers, retries=Retries()).serve(merged(*members))
    assert len(providers["second"].asked) == 1
    assert {it.outcome for it in served.finished} == {"completed"}
    assert [call.provider for call in served.finished[0].calls] == ["first", "second"]


async def test_large_answers_are_for_many_members() -> None:
    """What is too large for one record may come in one call and leave in several."""

    def play(asked: Asked) -> Script:
        data = [{"index": i, "embedding": "x" * 900_000} for i in range(len(asked.body["input"]))]
        return Script(frames=(msgspec.json.encode({"data": data}),))

    members = [embedding(i, texts(f"t{i}", encoding_format="base64")) for i in range(8)]
    served = await Caller({"first": ScriptedProvider(play)}).serve(merged(*members))
    assert {it.outcome for it in served.finished} == {"completed"}
