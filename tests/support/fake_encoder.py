"""An encoder without a model: texts are close when they share words."""

import hashlib
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from services.shared.adapters.minilm.tokens import is_mostly_latin
from services.shared.domain.errors import Unavailable
from services.shared.ports.encoder import Vectors

_MOST_WORDS = 126
_LONGEST_WORD = 100
_EMOJI = range(0x1F000, 0x20000)


class FakeEncoder:
    """An ``Encoder`` that sums a pseudo-random vector a word; deterministic everywhere.

    Attributes:
        is_available: Whether it answers.
        calls: Texts of each call.
    """

    dimensions = 384

    def __init__(self, build: str = "fake-1") -> None:
        """Start with nothing encoded."""
        self._build = build
        self.is_available = True
        self.calls: list[list[str]] = []

    @property
    def build(self) -> str:
        """See ``Encoder``."""
        return self._build

    def knows(self, text: str) -> bool:
        """See ``Encoder``."""
        words = text.split()
        is_known = all(len(word) <= _LONGEST_WORD for word in words)
        is_plain = not any(ord(character) in _EMOJI for character in text)
        return is_known and is_plain and is_mostly_latin(text) and len(words) <= _MOST_WORDS

    async def encode(self, texts: Sequence[str]) -> Vectors:
        """See ``Encoder``."""
        if not self.is_available:
            raise Unavailable("encoder", "it is away")
        self.calls.append(list(texts))
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for place, text in enumerate(texts):
            total = sum((_of_word(word) for word in text.lower().split()), start=_of_word(""))
            vectors[place] = total / np.linalg.norm(total)
        return vectors


@cache
def _of_word(word: str) -> NDArray[np.float32]:
    digest = hashlib.shake_256(word.encode("utf-8", "replace")).digest(FakeEncoder.dimensions)
    vector = np.frombuffer(digest, np.uint8).astype(np.float32) - np.float32(127.5)
    weight = np.float32(len(word) + 1)  # a short word says less
    return vector * weight
