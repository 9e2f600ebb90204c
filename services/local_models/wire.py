"""Answers in OpenAI's wire format."""

from base64 import b64encode
from typing import Literal

import msgspec

from services.local_models.decide import MODEL
from services.shared.ports.encoder import Vectors

_CREATED_S = 1_630_281_600
"""When the model was published: 2021-08-30."""


class _Embedding(msgspec.Struct):
    index: int
    embedding: list[float] | str
    object: str = "embedding"


class _Usage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class _EmbeddingList(msgspec.Struct):
    data: list[_Embedding]
    usage: _Usage
    model: str = MODEL
    object: str = "list"


class _Model(msgspec.Struct):
    id: str = MODEL
    object: str = "model"
    created: int = _CREATED_S
    owned_by: str = "local"


def embeddings_body(
    vectors: Vectors, *, encoding_format: Literal["float", "base64"], tokens: int
) -> bytes:
    """The body of an embeddings answer.

    Args:
        vectors: One row an input.
        encoding_format: ``base64`` = of little-endian 32-bit floats.
        tokens: Of all inputs.
    """
    render = _base64 if encoding_format == "base64" else _floats
    data = [_Embedding(index=index, embedding=render(row)) for index, row in enumerate(vectors)]
    return msgspec.json.encode(_EmbeddingList(data=data, usage=_Usage(tokens, tokens)))


def _base64(vector: Vectors) -> str:
    return b64encode(vector.astype("<f4").tobytes()).decode()


def _floats(vector: Vectors) -> list[float]:
    floats: list[float] = vector.tolist()
    return floats


def model_body() -> bytes:
    """The body of ``GET /v1/models/minilm``."""
    return msgspec.json.encode(_Model())


def models_body() -> bytes:
    """The body of ``GET /v1/models``."""
    return msgspec.json.encode({"object": "list", "data": [_Model()]})
