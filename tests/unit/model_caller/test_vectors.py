"""Vectors as they are kept, and back."""

import base64
import json
import math
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.vectors import (
    Vector,
    json_of_vector,
    value_of_vector,
    vector_of_json,
    vector_of_value,
)

DOUBLES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8)
SINGLES = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=8)


def kept(embedding: object) -> Vector:
    """The vector of an embedding, once it was kept and read again."""
    raw = msgspec.Raw(msgspec.json.encode(embedding))
    vector = vector_of_json(raw, tokens=3, now_ms=1_000.5, model="up")
    assert vector is not None
    read = vector_of_value(value_of_vector(vector))
    assert read == vector
    return read


def served(vector: Vector, *, is_base64: bool) -> Any:
    """The vector as an answer has it."""
    return json.loads(bytes(json_of_vector(vector, is_base64=is_base64)))


def as_base64(numbers: list[float]) -> str:
    """Numbers as providers write them in base64."""
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


@given(DOUBLES)
def test_numbers_come_back_to_the_last_digit(numbers: list[float]) -> None:
    """Whatever a provider printed is what is served."""
    assert served(kept(numbers), is_base64=False) == numbers


@given(SINGLES)
def test_base64_comes_back_to_the_byte_and_as_the_same_numbers(numbers: list[float]) -> None:
    """One kept vector serves both encodings."""
    text = as_base64(numbers)
    vector = kept(text)
    assert served(vector, is_base64=True) == text
    assert served(vector, is_base64=False) == numbers


@given(DOUBLES)
def test_numbers_in_base64_are_what_the_provider_would_have_sent(numbers: list[float]) -> None:
    """They are rounded to 32 bits, once."""
    assert served(kept(numbers), is_base64=True) == as_base64(numbers)


@pytest.mark.parametrize(("numbers", "width"), [([0.5, -1.0], 4), ([0.1], 8)])
def test_only_numbers_that_need_it_take_eight_bytes(numbers: list[float], width: int) -> None:
    """What 32 bits hold exactly is kept in 32 bits."""
    assert len(kept(numbers).packed) == width * len(numbers)


def test_what_is_known_of_a_vector_is_kept_with_it() -> None:
    """Its tokens, its age and its model; a name that is too long is left out."""
    vector = kept([1.0])
    assert (vector.tokens, vector.kept_at, vector.model) == (3, 1_000, "up")
    raw = msgspec.Raw(b"[1.0]")
    named = vector_of_json(raw, tokens=1, now_ms=0, model="m" * 300)
    assert named is not None
    assert named.model == ""


@pytest.mark.parametrize("embedding", [b"[]", b'""', b'"x"', b'"AAA="', b'["a"]', b"{}", b"[[1]]"])
def test_what_is_no_vector_is_not_kept(embedding: bytes) -> None:
    """It was the provider's to send; it is not ours to repeat."""
    assert vector_of_json(msgspec.Raw(embedding), tokens=1, now_ms=0, model="") is None


@pytest.mark.parametrize(
    "value", [b"", b"\x01", b"\x02" + b"f" + bytes(13) + bytes(4), b"\x01x" + bytes(13) + bytes(4)]
)
def test_what_cannot_be_read_is_missing(value: bytes) -> None:
    """Another release, or somebody else, wrote it."""
    assert vector_of_value(value) is None


def test_a_cut_value_is_missing() -> None:
    """Half a number is none."""
    assert vector_of_value(value_of_vector(kept([0.5]))[:-1]) is None


def test_no_number_is_invented_for_one_that_is_too_large() -> None:
    """What 32 bits cannot hold keeps its 64."""
    assert math.isclose(served(kept([1e300]), is_base64=False)[0], 1e300)
