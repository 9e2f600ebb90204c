"""Embeddings in OpenAI's wire format."""

import sys
from base64 import b64encode
from typing import Literal

import msgspec

from services.simulator.asking import Asked
from services.simulator.behaviour import FaultKind
from services.simulator.decide import Plan
from services.simulator.vectors import Vector, embedding_of_text, shortened
from services.simulator.wire import Identity, encode_json


class EmbeddingItem(msgspec.Struct):
    """The embedding of one input."""

    index: int
    embedding: list[float] | str
    object: Literal["embedding"] = "embedding"


class EmbeddingUsage(msgspec.Struct):
    """Token counts of an embedding call."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(msgspec.Struct, omit_defaults=True):
    """The body of an embedding answer."""

    object: str
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingUsage | None = None


def _rendered(vector: Vector, *, is_base64: bool) -> list[float] | str:
    if not is_base64:
        return vector.tolist()
    if sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return b64encode(vector.tobytes()).decode()


def embedding_body(asked: Asked, plan: Plan, identity: Identity) -> bytes:
    """The body of an embedding answer."""
    items = []
    for index, one in enumerate(asked.inputs):
        vector = embedding_of_text(one.text, identity.behaviour.dimensions)
        if asked.dimensions is not None and asked.dimensions < len(vector):
            vector = shortened(vector, asked.dimensions)
        items.append(EmbeddingItem(index, _rendered(vector, is_base64=asked.is_base64)))
    lie = FaultKind.LIE_USAGE in plan.faults
    tokens = -1 if lie else plan.input_tokens
    usage = None if FaultKind.NO_USAGE in plan.faults else EmbeddingUsage(tokens, tokens)
    return encode_json(EmbeddingList("list", items, identity.model, usage))
