"""What every ``Encoder`` does: the real one on both of its paths, and the fake."""

import asyncio
import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from services.shared.adapters.minilm.encoder import MiniLmEncoder, load_encoder
from services.shared.adapters.minilm.numpy_model import NumpyModel
from services.shared.adapters.minilm.pinned import GRAPH, TOKENIZER, WEIGHTS
from services.shared.adapters.minilm.tokens import read_tokens
from services.shared.domain.errors import Unavailable
from services.shared.ports.encoder import Encoder
from tests.support.fake_encoder import FakeEncoder
from tests.support.project import ROOT

QUESTION = "How do I reset the password of my account?"
NEAR = "How do I reset the password of my old account?"
FAR = "Sourdough bread rises overnight in a warm kitchen."

Make = Callable[[], Encoder]


def _numpy_encoder(folder: Path) -> MiniLmEncoder:
    return MiniLmEncoder(NumpyModel(folder / WEIGHTS), read_tokens(folder / TOKENIZER))


def _onnx_encoder(folder: Path) -> MiniLmEncoder:
    assert (folder / GRAPH).is_file()
    return load_encoder(folder)


_LOADERS = {"onnx": _onnx_encoder, "numpy": _numpy_encoder}


@pytest.fixture(scope="module")
def loaded(encoder_files: Path) -> Callable[[str], MiniLmEncoder]:
    """Each real encoder as it was loaded once: loading takes longer than most of these tests."""
    return functools.cache(lambda kind: _LOADERS[kind](encoder_files))


@pytest.fixture(params=["onnx", "numpy", "fake"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes encoders of one kind, which remember nothing yet; the real ones share their model."""
    if request.param == "fake":
        return FakeEncoder
    one = request.getfixturevalue("loaded")(request.param)
    return lambda: MiniLmEncoder(one._model, one._tokens)


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
        "你好世界",
        "Привет, мир",
        "Translate สวัสดีชาวโลก please",
        "I am 😀 today",
        "word " * 200,
        "a" * 100_000,
    ],
)
def test_knows_no_text_that_it_would_take_for_another(encoder: Encoder, text: str) -> None:
    """Other scripts, unknown tokens, no letters, and what would be cut off."""
    assert not encoder.knows(text)


@pytest.mark.parametrize("load", [*_LOADERS.values(), lambda _: FakeEncoder()])
def test_builds_and_dimensions_are_fixed(
    load: Callable[[Path], Encoder], encoder_files: Path
) -> None:
    """Two encoders of one kind have one build, by which their vectors may be compared."""
    one, other = load(encoder_files), load(encoder_files)
    assert one.build == other.build
    assert one.build
    assert one.dimensions == 384


def test_without_onnx_runtime_numpy_takes_over(
    encoder_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vectors are others, so its build is another."""
    with_it = load_encoder(encoder_files).build
    monkeypatch.delitem(sys.modules, "services.shared.adapters.minilm.onnx_model")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    without = load_encoder(encoder_files).build
    assert with_it.startswith("minilm-int8-")
    assert without.startswith("minilm-fp32-")


def test_a_folder_without_an_encoder_names_the_remedy(tmp_path: Path) -> None:
    """Who loads before anything was fetched is told what to do."""
    with pytest.raises(Unavailable, match="millrace encoder"):
        load_encoder(tmp_path)


def test_who_does_not_encode_loads_no_numeric_library() -> None:
    """Fetching, ports and the service before its first request stay cheap."""
    modules = "services.local_models.__main__, services.shared.adapters.minilm.fetching"
    libraries = "numpy onnx onnxruntime tokenizers"
    code = (
        f"import sys, {modules}; sys.exit(' '.join(set('{libraries}'.split()) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.stderr.strip() == b""


QUICKSTART = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
PUBLISHED = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
"""Similarities of the three under this model, in the quick start of Sentence Transformers."""


async def test_the_numpy_path_has_the_published_similarities(
    loaded: Callable[[str], MiniLmEncoder],
) -> None:
    """The weights are those of the published model, and so is what is done with them."""
    vectors = await loaded("numpy").encode(QUICKSTART)
    np.testing.assert_allclose(vectors @ vectors.T, PUBLISHED, atol=1e-4)


async def test_eight_bits_stay_close_to_the_full_model(
    loaded: Callable[[str], MiniLmEncoder],
) -> None:
    """Texts of all lengths keep their place, and pairs their similarity."""
    sentence = "Which of our orders from last week was shipped late, and who asked for a refund?"
    words = sentence.split()
    texts = [*QUICKSTART, QUESTION, NEAR, FAR, *(" ".join(words[: n + 1] * 3) for n in range(15))]
    quick = await loaded("onnx").encode(texts)
    full = await loaded("numpy").encode(texts)
    cosines = (quick * full).sum(axis=1)
    assert cosines.mean() > 0.99
    assert cosines.min() > 0.98
    assert np.abs(quick @ quick.T - full @ full.T).mean() < 0.02
