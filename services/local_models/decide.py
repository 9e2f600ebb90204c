"""What a request asks for, and whether it can be answered. Pure."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from services.shared.domain.errors import PublicError

MODEL = "minilm"
DIMENSIONS = 384
MOST_INPUTS = 2_048
MOST_TOKENS = 256
MOST_CHARACTERS = 16_384
"""Of one input; a longer one has more tokens than the model takes, and is not counted."""

_SHOWN = 80
"""Characters of a message that may repeat what a caller wrote."""


class EmbeddingRequest(msgspec.Struct, frozen=True):
    """The body of ``POST /v1/embeddings``; fields that change nothing here are left out."""

    model: str
    input: str | tuple[str, ...]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The inputs, in their order."""
        return (self.input,) if isinstance(self.input, str) else self.input


def request_from_body(body: bytes) -> EmbeddingRequest | PublicError:
    """What a body asks for, or why it cannot be answered."""
    try:
        request = msgspec.json.decode(body, type=EmbeddingRequest)
    except msgspec.ValidationError as error:
        return PublicError(
            code="invalid_type",
            message=f"{str(error)[:_SHOWN]}. Inputs are texts: token ids of others mean nothing.",
        )
    except (msgspec.DecodeError, RecursionError):
        return PublicError(code="json_invalid", message="The body is no valid JSON.")
    return _objection(request) or request


def _objection(request: EmbeddingRequest) -> PublicError | None:
    texts = request.texts
    if request.model != MODEL:
        return unknown_model()
    if request.dimensions not in (None, DIMENSIONS):
        return PublicError(
            code="unsupported_value",
            message=f"{MODEL} has {DIMENSIONS} dimensions and no others.",
            param="dimensions",
        )
    if not 1 <= len(texts) <= MOST_INPUTS or not all(texts):
        return PublicError(
            code="invalid_value",
            message=f"Give 1 to {MOST_INPUTS} inputs, none of them empty.",
            param="input",
        )
    longest = max(range(len(texts)), key=lambda place: len(texts[place]))
    return _too_long(longest) if len(texts[longest]) > MOST_CHARACTERS else None


def objection_to_lengths(counts: Sequence[int]) -> PublicError | None:
    """Why inputs of these many tokens cannot be encoded whole; None = they can."""
    return next((_too_long(at) for at, count in enumerate(counts) if count > MOST_TOKENS), None)


def unknown_model() -> PublicError:
    """There is no such model here."""
    return PublicError(
        code="model_not_found", message=f"There is one model here: {MODEL}.", param="model"
    )


def _too_long(place: int) -> PublicError:
    return PublicError(
        code="context_length_exceeded",
        message=f"input[{place}] is longer than the {MOST_TOKENS} tokens that {MODEL} takes.",
        param="input",
    )
