"""A caller's body on its way to the provider."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.wire import upstream_body
from tests.support.slow_examples import slow_examples

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@slow_examples
@given(st.dictionaries(st.text(max_size=8), JSON, max_size=6), st.text(max_size=20))
def test_everything_but_the_model_passes_as_it_is(body: dict[str, object], model: str) -> None:
    """Unknown fields go to the provider; the model is its own name for it; ours are left out."""
    sent = json.loads(upstream_body(json.dumps(body).encode(), model=model, stream=False))
    expected = {name: value for name, value in body.items() if name != "cache"}
    assert sent == {**expected, "model": model}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, {"include_usage": True}, id="none"),
        pytest.param({"stream_options": None}, {"include_usage": True}, id="null"),
        pytest.param(
            {"stream_options": {"include_usage": False, "include_obfuscation": False}},
            {"include_usage": True, "include_obfuscation": False},
            id="others_stay",
        ),
    ],
)
def test_a_stream_always_reports_its_usage(
    options: dict[str, object], expected: dict[str, bool]
) -> None:
    """The gateway has to know what a stream costs, also where the caller does not ask."""
    body = json.dumps({"model": "a", "stream": True, **options}).encode()
    assert json.loads(upstream_body(body, model="b", stream=True))["stream_options"] == expected


@pytest.mark.parametrize(("written", "number"), [("5.0", 5), ("1e2", 100), ("-3.00", -3)])
def test_a_whole_number_is_sent_as_an_integer(written: str, number: int) -> None:
    """Requests that differ in it alone share a call, so providers must not tell them apart."""
    body = f'{{"model":"a","max_tokens":{written}}}'.encode()
    sent = json.loads(upstream_body(body, model="b", stream=False))["max_tokens"]
    assert (type(sent), sent) == (int, number)


def test_numbers_pass_digit_by_digit() -> None:
    """Any other number is not read and written again: providers see what the caller wrote."""
    body = b'{"model":"a","temperature":0.10,"seed":12345678901234567890123,"x":1e30}'
    sent = upstream_body(body, model="b", stream=False)
    assert b'"temperature":0.10' in sent
    assert b'"seed":12345678901234567890123' in sent
    assert b'"x":1e30' in sent
