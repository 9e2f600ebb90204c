"""Embeddings requests, one or several, as one upstream call, and its answer as theirs.

Inputs that are equal are sent once. A member gets its own inputs back under its own indexes, and
a share of the usage in proportion to its estimated tokens; the shares add up exactly.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from services.model_caller.answers import (
    MAX_ANSWER_BYTES,
    NO_JSON,
    Malformed,
    ProviderError,
)
from services.model_caller.usage import reported_usage
from services.shared.domain.events import InferenceRequested
from services.shared.domain.money import Usage
from services.shared.domain.terminal import Answer

_VECTORS = (b"[", b'"')
"""How an embedding begins: numbers, or base64 of them."""


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """A call for several requests.

    Attributes:
        body: What is sent.
        places: For each member, where each of its inputs stands in the call.
    """

    body: bytes
    places: tuple[tuple[int, ...], ...]


class _Item(msgspec.Struct):
    embedding: msgspec.Raw
    index: int = -1
    object: str = "embedding"


class _Response(msgspec.Struct):
    data: list[_Item] = []
    model: str | None = None
    usage: Any = None
    error: Any = None


def merge_key(body: bytes) -> bytes:
    """What must be equal for requests to share a call: all but the inputs and the user."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    shaping = {k: fields[k] for k in sorted(fields) if k not in {"input", "user", "cache"}}
    return msgspec.json.encode(shaping)


def merged_call(bodies: Sequence[bytes]) -> Merged:
    """Build one call from the bodies of requests with equal ``merge_key``."""
    positions: dict[bytes, int] = {}
    places = []
    for body in bodies:
        own = (positions.setdefault(bytes(item), len(positions)) for item in _inputs(body))
        places.append(tuple(own))
    if len(bodies) == 1 and len(positions) == len(places[0]):
        return Merged(body=bodies[0], places=tuple(places))
    fields = msgspec.json.decode(bodies[0], type=dict[str, msgspec.Raw])
    if len(bodies) > 1:
        fields.pop("user", None)  # one caller's user would stand for all
    fields["input"] = msgspec.Raw(b"[" + b",".join(positions) + b"]")
    return Merged(body=msgspec.json.encode(fields), places=tuple(places))


def split_answer(
    merged: Merged, requests: Sequence[InferenceRequested], body: bytes
) -> list[Answer]:
    """Turn the answer of a call into one for each member.

    Raises:
        Malformed: It does not hold one embedding for each input, or one too large for a record.
        ProviderError: It is an error in the place of an answer.
    """
    try:
        response = msgspec.json.decode(body, type=_Response)
    except NO_JSON as error:
        raise Malformed("the answer is not a list of embeddings") from error
    if response.error:
        raise ProviderError(response.error)
    wanted = 1 + max(place for own in merged.places for place in own)
    by_index = {item.index: item.embedding for item in response.data}
    if by_index.keys() != set(range(wanted)) or len(response.data) != wanted:
        raise Malformed(f"{len(response.data)} embeddings came back for {wanted} inputs")
    if not all(bytes(memoryview(vector)[:1]) in _VECTORS for vector in by_index.values()):
        raise Malformed("an embedding is neither a list nor a text")
    estimates = [request.estimated_input_tokens for request in requests]
    usage = reported_usage(response.usage, has_output=False)
    if usage is None or not usage.input_tokens:
        usage = Usage(input_tokens=sum(estimates), is_estimated=True)
    parts = shares(usage.input_tokens, estimates)
    return [
        _answer(own, by_index, response.model or "", tokens, is_estimated=usage.is_estimated)
        for own, tokens in zip(merged.places, parts, strict=True)
    ]


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """Split a count in proportion to weights; the parts add up to it (largest remainders)."""
    weight = sum(weights)
    if not weight:
        weights, weight = [1] * len(weights), len(weights)
    parts = [total * w // weight for w in weights]
    remainders = sorted(range(len(weights)), key=lambda i: (-(total * weights[i] % weight), i))
    for i in remainders[: total - sum(parts)]:
        parts[i] += 1
    return parts


def _answer(
    own: Sequence[int],
    by_index: dict[int, msgspec.Raw],
    model: str,
    tokens: int,
    *,
    is_estimated: bool,
) -> Answer:
    items = [_Item(embedding=by_index[place], index=index) for index, place in enumerate(own)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    response = msgspec.json.encode(
        {"object": "list", "data": items, "model": model, "usage": usage}
    )
    if len(response) > MAX_ANSWER_BYTES:
        raise Malformed(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
    return Answer(
        response=response,
        usage=Usage(input_tokens=tokens, is_estimated=is_estimated),
        finish_reason="stop",
        response_model=model,
    )


def _inputs(body: bytes) -> list[msgspec.Raw]:
    """The inputs of a request as JSON texts; a single one (text or tokens) is a list of one."""
    given = msgspec.json.decode(body, type=dict[str, msgspec.Raw])["input"]
    if not bytes(given).lstrip().startswith(b"["):
        return [given]
    items = msgspec.json.decode(given, type=list[msgspec.Raw])
    if bytes(items[0]).lstrip()[:1].isdigit():  # one input as a list of tokens
        return [given]
    return items
