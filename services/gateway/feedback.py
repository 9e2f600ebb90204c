"""What a caller may say of an answer."""

import msgspec

from services.shared.domain.admission.strict_json import JsonObject, parse_object
from services.shared.domain.errors import PublicError

MAX_BODY_BYTES = 4_096
_MAX_DEPTH = 1
_FIELDS = frozenset({"score", "thumb", "source"})
_THUMBS = {"up": 1.0, "down": 0.0}
_SOURCES = ("user", "judge")


class Opinion(msgspec.Struct, frozen=True, kw_only=True):
    """How good an answer was.

    Attributes:
        score: 0 = bad .. 1 = good.
        source: Who says so: ``user`` or ``judge``.
    """

    score: float
    source: str


def opinion_from(body: bytes) -> Opinion | PublicError:
    """Read the body of a feedback request: ``score`` or ``thumb``, and ``source``."""
    document = parse_object(body, max_bytes=MAX_BODY_BYTES, max_depth=_MAX_DEPTH)
    if isinstance(document, PublicError):
        return document
    unknown = next((name for name in document if name not in _FIELDS), None)
    if unknown is not None:
        return PublicError(
            code="unknown_parameter",
            message="Unknown parameter; feedback has 'score' or 'thumb', and 'source'.",
        )
    source = document.get("source", "user")
    if source not in _SOURCES:
        return _invalid("source", "'user' or 'judge'")
    score = _score_of(document)
    return score if isinstance(score, PublicError) else Opinion(score=score, source=source)


def _score_of(document: JsonObject) -> float | PublicError:
    if ("score" in document) == ("thumb" in document):
        return PublicError(
            code="missing_required_parameter",
            message="Give either 'score', a number from 0 to 1, or 'thumb', 'up' or 'down'.",
            param="score",
        )
    if "thumb" in document:
        thumb = document["thumb"]
        if not isinstance(thumb, str) or thumb not in _THUMBS:
            return _invalid("thumb", "'up' or 'down'")
        return _THUMBS[thumb]
    score = document["score"]
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        return _invalid("score", "a number from 0 to 1")
    return float(score)


def _invalid(name: str, expected: str) -> PublicError:
    return PublicError(code="invalid_value", message=f"'{name}' must be {expected}.", param=name)
