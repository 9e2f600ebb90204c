"""Words and tokens: how long a text is, and what a model says."""

import re
from math import ceil, gcd

from services.simulator.seed import drawn_integer
from services.simulator.sentences import MULTIBYTE_SENTENCE, SENTENCES

BYTES_PER_TOKEN = 4
"""Of input: OpenAI's own rule of thumb for English."""

TOKENS_PER_MESSAGE = 4
TOKENS_PER_REPLY = 3
TOKENS_PER_IMAGE = 85

_PIECE = re.compile(r"\s?\w{1,7}|\s?[^\w\s]{1,7}|\s")


def estimated_tokens(text: str) -> int:
    """Input tokens of a text: its UTF-8 bytes divided by four, rounded up."""
    # asking whether a text is ASCII costs nothing, encoding it does
    size = len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
    return ceil(size / BYTES_PER_TOKEN)


def tokens_from_text(text: str) -> tuple[str, ...]:
    """Split a text as a model would say it: pieces of words, spaces leading; joined, the text."""
    return tuple(_PIECE.findall(text))


_TOKENS = tuple(tokens_from_text(f" {sentence}") for sentence in SENTENCES)
_MULTIBYTE_AT = SENTENCES.index(MULTIBYTE_SENTENCE)


_STRIDES = tuple(stride for stride in range(1, len(_TOKENS)) if gcd(stride, len(_TOKENS)) == 1)


def said_tokens(
    seed: int, *, at_least_tokens: int, exactly: bool = False, multibyte: bool = False
) -> tuple[str, ...]:
    """What a model says: whole sentences, none again before all were said.

    Args:
        seed: Decides the sentences and their order.
        at_least_tokens: The text ends with the sentence that reaches this length.
        exactly: It ends at this length instead, in the middle of a sentence if need be.
        multibyte: Start with characters beyond ASCII.
    """
    place = _MULTIBYTE_AT if multibyte else drawn_integer(seed, "sentence") % len(_TOKENS)
    stride = _STRIDES[drawn_integer(seed, "stride") % len(_STRIDES)]
    tokens: list[str] = []
    while len(tokens) < at_least_tokens:
        tokens.extend(_TOKENS[place])
        place = (place + stride) % len(_TOKENS)
    if exactly:
        del tokens[at_least_tokens:]
    if tokens:
        tokens[0] = tokens[0].lstrip()
    return tuple(tokens)
