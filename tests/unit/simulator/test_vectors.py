"""Embeddings."""

from math import isclose, sqrt

from hypothesis import given
from hypothesis import strategies as st

from services.simulator.vectors import Vector, embedding_of_text, shortened


def _cosine(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


@given(text=st.text(max_size=100), dimensions=st.integers(1, 600))
def test_embedding_has_length_one(text: str, dimensions: int) -> None:
    """Any text has an embedding of the size asked for and of length one."""
    vector = embedding_of_text(text, dimensions)
    assert len(vector) == dimensions
    assert isclose(sqrt(sum(value * value for value in vector)), 1, abs_tol=1e-5)
    assert vector == embedding_of_text(text, dimensions)


def test_similar_texts_are_nearer_than_unrelated_ones() -> None:
    """A change of one word moves a text little; another subject moves it far."""
    one = embedding_of_text("How do I reset my password on the website?", 384)
    near = embedding_of_text("How do I reset the password on this website?", 384)
    far = embedding_of_text("Copper conducts heat better than steel does.", 384)
    assert _cosine(one, near) > 0.7
    assert abs(_cosine(one, far)) < 0.3
    assert _cosine(one, near) > _cosine(one, far) + 0.4


def test_shortened_embedding_is_its_beginning() -> None:
    """Fewer dimensions are the first ones, scaled to length one again."""
    whole = embedding_of_text("A map is useful because of what it leaves out.", 384)
    short = shortened(whole, 64)
    length = sqrt(sum(value * value for value in whole[:64]))
    assert len(short) == 64
    assert all(isclose(a, b / length, abs_tol=1e-6) for a, b in zip(short, whole, strict=False))
    assert isclose(sum(value * value for value in short), 1, abs_tol=1e-5)
