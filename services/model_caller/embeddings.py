"""Several embeddings requests as one upstream call, and its answer as theirs.

Inputs that are equal are sent once. A member gets its own inputs back under its own indexes, and
a share of the usage in proportion to its estimated tokens; the shares add up exactly.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from services.model_caller.answers import Malformed, usage_from
from services.shared.domain.events import InferenceRequested
from services.shared.domain.money import Usage
from services.shared.domain.terminal import Answer


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
    data: list[_Item]
    model: str = ""
    usage: Any = None


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
    fields = msgspec.json.decode(bodies[0], type=dict[str, msgspec.Raw])
    fields.pop("user", None)  # one caller's user would stand for all
    fields["input"] = msgspec.Raw(b"[" + b",".join(positions) + b"]")
    return Merged(body=msgspec.json.encode(fields), places=tuple(places))


def split_answer(
    merged: Merged, requests: Sequence[InferenceRequested], body: bytes
) -> list[Answer]:
    """Turn the answer of a merged call into one for each member.

    Raises:
        Malformed: It does not hold one embedding for each input.
    """
    try:
        response = msgspec.json.decode(body, type=_Response)
    except msgspec.DecodeError as error:
        raise Malformed("the answer is not a list of embeddings") from error
    wanted = 1 + max(place for own in merged.places for place in own)
    by_index = {item.index: item.embedding for item in response.data}
    if by_index.keys() != set(range(wanted)) or len(response.data) != wanted:
        raise Malformed(f"{len(response.data)} embeddings came back for {wanted} inputs")
    estimates = [request.estimated_input_tokens for request in requests]
    usage = usage_from(
        response.usage, estimate=Usage(input_tokens=sum(estimates), is_estimated=True)
    )
    return [
        Answer(
            response=_document(own, by_index, response.model, tokens),
            usage=Usage(input_tokens=tokens, is_estimated=usage.is_estimated),
            finish_reason="stop",
            response_model=response.model,
        )
        for own, tokens in zip(merged.places, shares(usage.input_tokens, estimates), strict=True)
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


def _document(
    own: Sequence[int], by_index: dict[int, msgspec.Raw], model: str, tokens: int
) -> bytes:
    return msgspec.json.encode(
        {
            "object": "list",
            "data": [
                _Item(embedding=by_index[place], index=index) for index, place in enumerate(own)
            ],
            "model": model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
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
