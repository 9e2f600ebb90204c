"""Log probabilities of what a model says, in OpenAI's wire format. They follow from the tokens."""

from collections.abc import Iterable, Iterator
from itertools import islice
from math import log

import msgspec

from services.simulator.seed import drawn_integer, drawn_ratio, seed_from_parts
from services.simulator.sentences import SENTENCES
from services.simulator.text import tokens_from_text

_OTHERS = tuple(dict.fromkeys(t for said in SENTENCES[:20] for t in tokens_from_text(f" {said}")))
_LEAST_RATIO = 0.5
"""What is said is never less likely, so that each of its alternatives is."""


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token and how likely it was."""

    token: str
    logprob: float
    bytes: list[int]


class SaidLogprob(TokenLogprob, frozen=True):
    """A token that was said, and the likeliest ones in its place."""

    top_logprobs: list[TokenLogprob]


class Logprobs(msgspec.Struct, frozen=True):
    """``logprobs`` of a choice, or of a chunk of it."""

    content: list[SaidLogprob]
    refusal: None = None


def logprobs_of(tokens: Iterable[str], *, top: int, start: int = 0) -> Logprobs:
    """How likely each token was.

    Args:
        tokens: What is said.
        top: How many of the likeliest tokens are told with each, itself included.
        start: Place of the first in its answer.
    """
    return Logprobs([_said(token, place, top) for place, token in enumerate(tokens, start)])


def _said(token: str, place: int, top: int) -> SaidLogprob:
    seed = seed_from_parts(str(place), token)
    ratio = _LEAST_RATIO + (1 - _LEAST_RATIO) * drawn_ratio(seed, "logprob")
    likely = [_rated(token, ratio), *_alternatives(token, seed, 1 - ratio, top - 1)]
    return SaidLogprob(token, likely[0].logprob, likely[0].bytes, likely[:top])


def _alternatives(token: str, seed: int, rest: float, count: int) -> Iterator[TokenLogprob]:
    """Other tokens, each half as likely as the one before, together within what is left."""
    first = drawn_integer(seed, "other") % len(_OTHERS)
    others = (it for it in (*_OTHERS[first:], *_OTHERS[:first]) if it != token)
    for number, other in enumerate(islice(others, max(0, count)), 1):
        yield _rated(other, rest / 2**number)


def _rated(token: str, ratio: float) -> TokenLogprob:
    return TokenLogprob(token, round(log(ratio), 6), list(token.encode()))
