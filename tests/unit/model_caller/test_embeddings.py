"""Embeddings: several requests as one call, and back."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_caller import embeddings
from services.model_caller.answers import Malformed, ProviderError
from services.model_caller.embeddings import merge_key, merged_call, shares, split_answer
from services.shared.domain.events import InferenceRequested
from tests.support.example_events import requested

Input = str | list[str] | list[int] | list[list[int]]
INPUTS = (
    st.text(max_size=4)
    | st.lists(st.text(max_size=4), min_size=1, max_size=4)
    | st.lists(st.integers(0, 9), min_size=1, max_size=3)
    | st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=3)
)


def asking(input_: Input, *, tokens: int = 5, **fields: Any) -> InferenceRequested:
    """A request for embeddings."""
    body = json.dumps({"model": "e", "input": input_, **fields}).encode()
    return requested(operation="embeddings", body=body, estimated_input_tokens=tokens)


def upstream(body: bytes, **changes: Any) -> bytes:
    """A provider whose embedding of an input is its JSON text; in reversed order, to be unkind."""
    given = json.loads(body)["input"]
    if isinstance(given, str) or isinstance(given[0], int):
        given = [given]
    data = [
        {"object": "embedding", "index": index, "embedding": json.dumps(one)}
        for index, one in enumerate(given)
    ]
    answer = {"object": "list", "data": data[::-1], "model": "up", "usage": {"prompt_tokens": 40}}
    return msgspec.json.encode({**answer, **changes})


def listed(input_: Input) -> list[str]:
    """The inputs of a request as the provider above embeds them."""
    if isinstance(input_, str) or isinstance(input_[0], int):
        return [json.dumps(input_)]
    return [json.dumps(one) for one in input_]


@given(st.lists(INPUTS, min_size=1, max_size=5))
def test_every_member_gets_its_own_inputs_back(inputs: list[Input]) -> None:
    """Whatever is merged, each answer has the member's inputs in its order under its indexes."""
    requests = [asking(input_, tokens=number) for number, input_ in enumerate(inputs)]
    merged = merged_call([request.body for request in requests])
    answers = split_answer(merged, requests, upstream(merged.body)).answers
    for input_, answer in zip(inputs, answers, strict=True):
        document = json.loads(answer.response)
        assert [item["embedding"] for item in document["data"]] == listed(input_)
        assert [item["index"] for item in document["data"]] == list(range(len(document["data"])))
        assert document["usage"]["prompt_tokens"] == answer.usage.input_tokens
        assert (answer.response_model, answer.finish_reason) == ("up", "stop")
    assert sum(answer.usage.input_tokens for answer in answers) == 40


def test_equal_inputs_are_sent_once() -> None:
    """Within a request and across requests; each place still gets its embedding."""
    requests = [asking(["a", "b", "a"]), asking("b"), asking([[1], [2]]), asking([2])]
    merged = merged_call([request.body for request in requests])
    assert json.loads(merged.body)["input"] == ["a", "b", [1], [2]]
    assert merged.places == ((0, 1, 0), (1,), (2, 3), (3,))


def test_a_single_request_is_sent_as_it_is() -> None:
    """Nothing is gained by writing it anew, unless it repeats itself."""
    body = asking(["a", "b"], user="u").body
    assert merged_call([body]).body == body
    doubled = json.loads(merged_call([asking(["a", "a"], user="u").body]).body)
    assert (doubled["input"], doubled["user"]) == (["a"], "u")


def test_no_user_stands_for_the_others() -> None:
    """A merged call names nobody."""
    merged = merged_call([asking("a", user="u").body, asking("b", user="v").body])
    assert "user" not in json.loads(merged.body)


@pytest.mark.parametrize(
    ("fields", "is_shared"),
    [
        pytest.param({}, True, id="inputs_differ"),
        pytest.param({"user": "u"}, True, id="users_differ"),
        pytest.param({"cache": {"no-store": True}}, True, id="cache_controls_differ"),
        pytest.param({"dimensions": 8}, False, id="dimensions_differ"),
        pytest.param({"encoding_format": "base64"}, False, id="formats_differ"),
        pytest.param({"model": "f"}, False, id="models_differ"),
        pytest.param({"unknown": 1}, False, id="unknown_fields_differ"),
    ],
)
def test_calls_are_shared_where_only_the_inputs_differ(
    *, fields: dict[str, Any], is_shared: bool
) -> None:
    """All that shapes an embedding must be equal; the order of fields does not count."""
    plain = merge_key(b'{"input":"x","model":"e"}')
    assert (merge_key(asking("a", **fields).body) == plain) is is_shared


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="no_object"),
        pytest.param(b'{"data":null}', id="no_data"),
        pytest.param(b"{}", id="empty"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"data":' + b"[" * 100_000, id="deep_data"),
        pytest.param(b'{"model":"\xff","data":[]}', id="no_utf8"),
        pytest.param(upstream(asking(["a"]).body), id="too_few"),
        pytest.param(upstream(asking(["a", "b", "c"]).body), id="too_many"),
        pytest.param(
            upstream(b'{"input":["a"]}').replace(b"]", b',{"index":0,"embedding":[1]}]', 1),
            id="one_index_twice",
        ),
        pytest.param(upstream(b'{"input":["a","b"]}').replace(b":1,", b":5,"), id="wrong_index"),
        pytest.param(upstream(b'{"input":["a","b"]}').replace(b'"index":1,', b""), id="no_index"),
        pytest.param(
            b'{"data":[{"index":0,"embedding":null},{"index":1,"embedding":[1]}]}', id="null"
        ),
        pytest.param(
            b'{"data":[{"index":0,"embedding":5},{"index":1,"embedding":[1]}]}', id="number"
        ),
        pytest.param(b'{"data":[{"index":0},{"index":1}]}', id="no_embedding"),
        pytest.param(b'{"data":[0,1]}', id="items_are_no_objects"),
    ],
)
def test_an_answer_that_is_not_one_embedding_an_input_is_malformed(answer: bytes) -> None:
    """Nobody gets somebody else's embedding, or a part of his own."""
    requests = [asking("a"), asking("b")]
    merged = merged_call([request.body for request in requests])
    with pytest.raises(Malformed):
        split_answer(merged, requests, answer)


def test_an_error_in_the_place_of_embeddings_is_the_provider_s() -> None:
    """Some answer 200 and mean an error."""
    requests = [asking("a")]
    merged = merged_call([requests[0].body])
    with pytest.raises(ProviderError) as raised:
        split_answer(merged, requests, b'{"error":{"code":"c","message":"m"}}')
    assert raised.value.code == "c"


def test_an_answer_that_fits_into_no_record_is_malformed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member whose embeddings are too large fails; it could not be delivered."""
    monkeypatch.setattr(embeddings, "MAX_ANSWER_BYTES", 100)
    requests = [asking("a" * 100)]
    merged = merged_call([requests[0].body])
    with pytest.raises(Malformed, match="more than 100 bytes"):
        split_answer(merged, requests, upstream(merged.body))


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -1}, {"prompt_tokens": 0}, "many"])
def test_missing_usage_is_estimated(usage: object) -> None:
    """The admission's estimate stands in, and says so."""
    requests = [asking("a", tokens=3), asking("b", tokens=4)]
    merged = merged_call([request.body for request in requests])
    answers = split_answer(merged, requests, upstream(merged.body, usage=usage)).answers
    assert [answer.usage.input_tokens for answer in answers] == [3, 4]
    assert all(answer.usage.is_estimated for answer in answers)


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=30))
def test_shares_add_up_and_are_fair(total: int, weights: list[int]) -> None:
    """No token is lost or invented; nobody is off by more than one."""
    parts = shares(total, weights)
    assert sum(parts) == total
    fair = weights if sum(weights) else [1] * len(weights)
    for part, weight in zip(parts, fair, strict=True):
        exact = total * weight / sum(fair)
        assert abs(part - exact) < 1 + 1e-6 * exact
