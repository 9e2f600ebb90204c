"""Embeddings that mean something: similar texts get similar vectors, without a model.

A text's features are its words and the three-character pieces of them; each feature adds ±1 at a
place that its hash decides (feature hashing, Weinberger et al. 2009). The sum is scaled to length
one and rounded to 32-bit floats.
"""

import re
import zlib
from array import array
from collections import Counter
from functools import lru_cache
from math import hypot
from typing import TypeAlias

MAX_WORDS = 1_024
"""Words of a text that count; the rest of a longer one is ignored."""

Vector: TypeAlias = "array[float]"
"""32-bit floats."""

_WORD = re.compile(r"\w{1,64}|[^\w\s]")
_WHOLE_WORD_WEIGHT = 2


@lru_cache(maxsize=16_384)
def _hashes_of_word(word: str) -> tuple[int, ...]:
    padded = f"<{word}>"
    pieces = [padded[start : start + 3] for start in range(len(padded) - 2)]
    features = [*pieces, *[padded] * _WHOLE_WORD_WEIGHT]
    return tuple(zlib.crc32(feature.encode(errors="surrogatepass")) for feature in features)


@lru_cache(maxsize=1_024)
def embedding_of_text(text: str, dimensions: int) -> Vector:
    """The embedding of a text: 32-bit floats, length one. Do not change it: it is cached."""
    sums = [0] * dimensions
    for word, times in Counter(_WORD.findall(text.lower())[:MAX_WORDS]).items():
        for feature in _hashes_of_word(word):
            sums[(feature >> 1) % dimensions] += times if feature & 1 else -times
    return _of_length_one(sums)


def shortened(vector: Vector, dimensions: int) -> Vector:
    """The first places of an embedding, scaled to length one again."""
    return _of_length_one(list(vector[:dimensions]))


def _of_length_one(values: list[int] | list[float]) -> Vector:
    length = hypot(*values)
    if length == 0:
        # features that cancel out, or a text of spaces
        return array("f", [1.0, *[0.0] * (len(values) - 1)])
    return array("f", [value / length for value in values])
