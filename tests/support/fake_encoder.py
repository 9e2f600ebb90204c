"""An encoder of words: deterministic, quick, and no judge of meaning."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from services.shared.domain.errors import Unavailable
from services.shared.ports.encoder import Vectors

_WORD = re.compile(r"[a-z0-9]+")


class FakeEncoder:
    """An ``Encoder``: texts of the same words are the same, of half the same words half as close.

    Attributes:
        is_available: Whether it answers.
        encoded: Texts of each call.
    """

    def __init__(self, *, build: str = "fake-1") -> None:
        """Answer."""
        self.build = build
        self.dimensions = 384
        self.is_available = True
        self.encoded: list[list[str]] = []

    def knows(self, text: str) -> bool:
        """Whether a text is Latin."""
        return text.isascii()

    async def encode(self, texts: Sequence[str]) -> Vectors:
        """See ``Encoder``."""
        self.encoded.append(list(texts))
        if not self.is_available:
            raise Unavailable("encoder", "it is away")
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in _WORD.findall(text.lower()):
                digest = hashlib.sha256(word.encode()).digest()
                vector[int.from_bytes(digest[:4], "big") % self.dimensions] += 1.0
        lengths: Vectors = np.linalg.norm(vectors, axis=1, keepdims=True)
        scaled: Vectors = vectors / np.maximum(lengths, 1e-6)
        return scaled
