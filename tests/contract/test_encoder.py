"""What every ``Encoder`` does: the real one on both of its paths, and the fake."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from services.shared.adapters.minilm.encoder import MiniLmEncoder, load_encoder
from services.shared.adapters.minilm.numpy_model import NumpyModel
from services.shared.adapters.minilm.pinned import GRAPH, TOKENIZER, WEIGHTS
from services.shared.adapters.minilm.tokens import read_tokens
from services.shared.ports.encoder import Encoder
from tests.support.fake_encoder import FakeEncoder

QUESTION = "How do I reset the password of my account?"
NEAR = "How do I reset the password of my old account?"
FAR = "Sourdough bread rises overnight in a warm kitchen."

Make = Callable[[], Encoder]


def _numpy_encoder(folder: Path) -> Encoder:
    return MiniLmEncoder(NumpyModel(folder / WEIGHTS), read_tokens(folder / TOKENIZER))


@pytest.fixture(params=["onnx", "numpy", "fake"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes encoders of one kind."""
    if request.param == "fake":
        return FakeEncoder
    folder: Path = request.getfixturevalue("encoder_files")
    if request.param == "numpy":
        return lambda: _numpy_encoder(folder)
    assert (folder / GRAPH).is_file()
    return lambda: load_encoder(folder)


@pytest.fixture
def encoder(make: Make) -> Encoder:
    """One of them."""
    return make()


async def test_vectors_have_length_one_and_come_in_the_order_of_the_texts(encoder: Encoder) -> None:
    """Row i is the vector of text i, whatever the lengths of the others."""
    texts = [QUESTION, "Hi", FAR, NEAR, "Thanks a lot"]
    together = await encoder.encode(texts)
    assert together.shape == (len(texts), encoder.dimensions)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for row, text in zip(together, texts, strict=True):
        np.testing.assert_allclose((await encoder.encode([text]))[0], row, atol=1e-5)


async def test_a_vector_does_not_depend_on_what_is_encoded_beside_it(make: Make) -> None:
    """A text is as close to itself in another batch as in its own, to the last threshold."""
    alone = (await make().encode([QUESTION]))[0]
    company = [f"{word} do I reset the password of my account?" for word in ("Where", "When")]
    beside = (await make().encode([*company, QUESTION, FAR]))[1 + 1]
    assert float(alone @ beside) > 0.99999


async def test_no_texts_have_no_vectors(encoder: Encoder) -> None:
    """An empty poll costs nothing and fails nothing."""
    assert (await encoder.encode([])).shape == (0, encoder.dimensions)


async def test_the_same_text_twice_has_one_vector(encoder: Encoder) -> None:
    """Duplicates in one call are not told apart."""
    first, second = await encoder.encode([QUESTION, QUESTION])
    np.testing.assert_array_equal(first, second)


async def test_like_texts_are_closer_than_others(encoder: Encoder) -> None:
    """Similarity orders texts by what they say."""
    question, near, far = await encoder.encode([QUESTION, NEAR, FAR])
    assert question @ near > 0.8 > question @ far + 0.3


async def test_calls_at_once_each_get_their_own_vectors(encoder: Encoder) -> None:
    """Calls share batches, and answers are not mixed up."""
    texts = [f"What is the capital of country number {n}?" for n in range(40)]
    answers = await asyncio.gather(*(encoder.encode([text, FAR]) for text in texts))
    expected = await encoder.encode([*texts, FAR])
    for answer, row in zip(answers, expected, strict=False):
        np.testing.assert_allclose(answer, [row, expected[-1]], atol=1e-5)


async def test_any_text_has_a_vector(encoder: Encoder) -> None:
    """Whatever callers send, it is encoded or unknown, and never breaks the encoder."""
    texts = ["", " ", "\x00", "\ud800", "😀" * 10, "a" * 5_000, "word " * 20_000, "[SEP] [PAD]"]
    vectors = await encoder.encode(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    "text",
    [QUESTION, "Cuánto cuesta el envío a Alemania?", "Zażółć gęślą jaźń", "naïve café", "2+2=x"],
)
def test_knows_plain_latin_texts(encoder: Encoder, text: str) -> None:
    """Latin letters, accents and digits are told apart."""
    assert encoder.knows(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "123 + 456",
        "สวัสดีชาวโลก",
        "ሰላም ልዑል",
        "გამარჯობა მსოფლიო",
        "你好，世界",
        "Привет, мир",
        "Translate สวัสดีชาวโลก please",
        "I am 😀 today",
        "word " * 200,
        "a" * 100_000,
    ],
)
def test_knows_no_text_that_it_would_confuse_with_others(encoder: Encoder, text: str) -> None:
    """Other scripts, unknown tokens, no letters, and what would be cut off."""
    assert not encoder.knows(text)


def test_builds_and_dimensions_are_fixed(make: Make) -> None:
    """Two encoders of one kind have one build, by which their vectors may be compared."""
    one, other = make(), make()
    assert one.build == other.build
    assert one.build
    assert one.dimensions == 384
