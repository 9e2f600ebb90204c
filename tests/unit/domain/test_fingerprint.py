"""The exact cache's key: equal for equal requests of one tenant, different for all others."""

import json
import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.admission.admit import FORMS, Admitted, admit
from services.shared.domain.admission.limits import Limits
from services.shared.domain.events import InferenceRequested, Operation
from services.shared.domain.fingerprint import (
    BODY_EXCLUDED,
    EXCLUDED,
    INCLUDED,
    canonical_request,
    fingerprint,
)
from tests.support.slow_examples import slow_examples

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(
    st.text(alphabet="bdghkqtyz", min_size=1, max_size=3), JSON_VALUES, max_size=5
)


def of(body: dict[str, Any] | str, *, tenant: str = "t", namespace: str = "") -> str:
    """The fingerprint of a chat body, through admission."""
    encoded = body.encode() if isinstance(body, str) else msgspec.json.encode(body)
    admitted = admit(Operation.CHAT, encoded, limits=Limits())
    assert isinstance(admitted, Admitted), admitted
    return fingerprint(
        tenant=tenant,
        namespace=namespace,
        operation=Operation.CHAT,
        model=admitted.model,
        canonical=admitted.canonical,
    )


def test_every_field_of_a_request_is_hashed_or_left_out_on_purpose() -> None:
    """A new field of the record breaks this test until somebody decides about it."""
    assert set(InferenceRequested.__struct_fields__) == INCLUDED | EXCLUDED
    assert not INCLUDED & EXCLUDED


def test_fields_left_out_of_the_body_are_no_typing_errors() -> None:
    """Each is a field that some operation has, or one that OpenAI has."""
    known = {field for form in FORMS.values() for field in form.fields}
    assert BODY_EXCLUDED - known == {"prompt_cache_options"}


def test_a_fingerprint_is_stable() -> None:
    """A changed value means that all cached answers are lost: then change VERSION knowingly."""
    assert of(BODY) == "d857885bac215cd0c4b9d8c0fc76471b502951e80f3fd856a660ed2d505df9b5"


def shuffled(value: object, order: random.Random) -> object:
    """The same JSON with the keys of every object in another order."""
    if isinstance(value, dict):
        keys = list(value)
        order.shuffle(keys)
        return {key: shuffled(value[key], order) for key in keys}
    return [shuffled(item, order) for item in value] if isinstance(value, list) else value


@slow_examples
@given(DOCUMENTS, st.randoms(use_true_random=False))
def test_the_order_of_keys_means_nothing(document: dict[str, Any], order: random.Random) -> None:
    """Objects with equal members are one request, at every depth."""
    body = {**BODY, **document}
    assert of(json.dumps(shuffled(body, order))) == of(body)


@slow_examples
@given(DOCUMENTS, st.booleans(), st.sampled_from([None, 2]))
def test_the_way_json_is_written_means_nothing(
    document: dict[str, Any],
    ensure_ascii: bool,  # noqa: FBT001 -- drawn by Hypothesis
    indent: int | None,
) -> None:
    """White space and escapes are not part of the request."""
    body = {**BODY, **document}
    assert of(json.dumps(body, ensure_ascii=ensure_ascii, indent=indent)) == of(body)


@pytest.mark.parametrize(
    ("one", "other"), [("1", "1.0"), ("1000", "1e3"), ("0", "-0.0"), ("0.5", "5e-1")]
)
def test_one_number_is_one_number_however_written(one: str, other: str) -> None:
    """1 and 1.0 are the same JSON number, at the top and deep inside."""
    template = (
        '{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "k": [%s], "j": {"i": %s}}'
    )
    assert of(template % (one, one)) == of(template % (other, other))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stream", True),
        ("user", "u"),
        ("metadata", {"k": "v"}),
        ("store", True),
        ("safety_identifier", "s"),
        ("prompt_cache_key", "k"),
        ("prompt_cache_options", {"mode": "explicit"}),
        ("prompt_cache_retention", "24h"),
        ("service_tier", "flex"),
        ("cache", {"ttl": 60}),
    ],
)
def test_what_does_not_shape_the_answer_does_not_shape_the_key(field: str, value: object) -> None:
    """Delivery, bookkeeping and price do not part requests."""
    assert field in BODY_EXCLUDED
    assert of({**BODY, field: value}) == of(BODY)


def test_a_stream_and_a_whole_answer_share_a_key() -> None:
    """Streams are cached and replayed to either."""
    streamed = {**BODY, "stream": True, "stream_options": {"include_usage": True}}
    assert of(streamed) == of(BODY)


CHANGES: list[dict[str, Any]] = [
    {"model": "m2"},
    {"messages": [{"role": "user", "content": "Hi "}]},
    {"messages": [{"role": "user", "content": "hi"}]},
    {"messages": [{"role": "system", "content": "Hi"}]},
    {"messages": [{"role": "user", "content": "Hi", "name": "a"}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
    {"messages": [*BODY["messages"], *BODY["messages"]]},
    {"temperature": 0},
    {"temperature": None},
    {"temperature": 0.1},
    {"top_p": 0.5},
    {"n": 2},
    {"seed": 1},
    {"max_tokens": 5},
    {"max_completion_tokens": 5},
    {"stop": "a"},
    {"stop": ["a"]},
    {"logit_bias": {"1": 1}},
    {"logprobs": True},
    {"response_format": {"type": "json_object"}},
    {"tools": [{"type": "function", "function": {"name": "f"}}]},
    {"tools": [{"type": "function", "function": {"name": "g"}}]},
    {"reasoning_effort": "low"},
    {"prediction": {"type": "content", "content": "x"}},
    {"a_field_of_tomorrow": 1},
    {"a_field_of_tomorrow": "1"},
    {"a_field_of_tomorrow": True},
]


def test_every_change_of_what_shapes_the_answer_changes_the_key() -> None:
    """No two of these requests may share an answer; text is not normalised."""
    keys = [of(BODY), *(of({**BODY, **change}) for change in CHANGES)]
    assert len(set(keys)) == len(keys)


@slow_examples
@given(DOCUMENTS, DOCUMENTS)
def test_different_requests_have_different_keys(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Only equal documents share a key (``True`` is not 1, unlike in Python)."""
    is_same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (of({**BODY, **one}) == of({**BODY, **other})) == is_same


@given(st.text(), st.text())
def test_tenants_never_share_a_key(one: str, other: str) -> None:
    """The tenant is always part of the key."""
    assert (of(BODY, tenant=one) == of(BODY, tenant=other)) == (one == other)


@given(*[st.text(alphabet="ab\0", max_size=3)] * 6)
def test_no_part_can_pose_as_another(  # noqa: PLR0917 -- drawn by Hypothesis
    tenant: str, namespace: str, model: str, tenant2: str, namespace2: str, model2: str
) -> None:
    """Moving a character from one part to the next is another request."""
    canonical = canonical_request(BODY)
    keys = [
        fingerprint(tenant=t, namespace=n, operation=Operation.CHAT, model=m, canonical=canonical)
        for t, n, m in ((tenant, namespace, model), (tenant2, namespace2, model2))
    ]
    is_same = (tenant, namespace, model) == (tenant2, namespace2, model2)
    assert (keys[0] == keys[1]) == is_same


def test_operations_do_not_share_a_key() -> None:
    """The same bytes mean something else on another path."""
    keys = {
        fingerprint(tenant="t", namespace="", operation=operation, model="m", canonical=b"{}")
        for operation in Operation
    }
    assert len(keys) == len(Operation)
