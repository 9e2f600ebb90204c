"""Texts as token ids, and whether the model can tell a text from others."""

from pathlib import Path
from typing import TYPE_CHECKING

from services.shared.adapters.minilm.pinned import MOST_TOKENS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_KNOWN_TOKENS = 128
LEAST_LATIN_RATIO = 0.8

_MOST_CHARACTERS = 16_384
"""A longer text is cut before it is looked at; its first 256 tokens are the same."""

_MOST_KNOWN_CHARACTERS = 2_048
_SPECIAL_IDS = frozenset((0, 100, 101, 102, 103))
"""``[PAD] [UNK] [CLS] [SEP] [MASK]``; within a text they say nothing, or were smuggled in."""

_LATIN_BLOCKS = (range(0x0250), range(0x1E00, 0x1F00), range(0xFB00, 0xFB07))


class Tokens:
    """WordPiece as the model was trained with. Safe in several threads."""

    def __init__(self, tokenizer: "Tokenizer") -> None:
        """Use a tokenizer that neither pads nor cuts; ``read_tokens`` makes one."""
        self._tokenizer = tokenizer

    def ids(self, text: str) -> list[int]:
        """The ids of a text, between ``[CLS]`` and ``[SEP]``; 256 at most, some 20 µs a line."""
        ids = self._ids(text[:_MOST_CHARACTERS])
        return ids if len(ids) <= MOST_TOKENS else [*ids[: MOST_TOKENS - 1], ids[-1]]

    def count(self, text: str) -> int:
        """Number of tokens of a text, uncut."""
        return len(self._ids(text))

    def knows(self, text: str) -> bool:
        """Whether the vector of a text says what the text says."""
        if len(text) > _MOST_KNOWN_CHARACTERS or not is_mostly_latin(text):
            return False
        ids = self._ids(text)
        return len(ids) <= MOST_KNOWN_TOKENS and _SPECIAL_IDS.isdisjoint(ids[1:-1])

    def _ids(self, text: str) -> list[int]:
        try:
            ids: list[int] = self._tokenizer.encode(text).ids
        except TypeError:  # half of a surrogate pair, which JSON may hold and UTF-8 may not
            ids = self._tokenizer.encode(text.encode("utf-8", "replace").decode()).ids
        return ids


def is_mostly_latin(text: str) -> bool:
    """Whether at least four fifths of a text's letters are Latin, and there is one."""
    letters = [ord(character) for character in text if character.isalpha()]
    if text.isascii():
        return bool(letters)
    latin = sum(any(letter in block for block in _LATIN_BLOCKS) for letter in letters)
    return bool(letters) and latin >= LEAST_LATIN_RATIO * len(letters)


def read_tokens(file: Path) -> Tokens:
    """Read ``tokenizer.json``; takes some 50 ms."""
    from tokenizers import Tokenizer  # noqa: PLC0415  only processes that encode pay for it

    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return Tokens(tokenizer)
