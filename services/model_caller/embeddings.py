"""Embeddings requests, one or several, as one upstream call, and its answer as theirs.

Inputs that are equal are sent once, and those whose vectors are known are not sent at all. A member
gets its own inputs back under its own indexes, and a share of the usage in proportion to the
estimated tokens of what was sent for it; the shares add up exactly, and two who ask for the same
pay half each.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from services.model_caller.answers import (
    MAX_ANSWER_BYTES,
    Malformed,
    ProviderError,
)
from services.model_caller.usage import reported_usage
from services.model_caller.vectors import Vector, json_of_vector
from services.shared.domain.events import InferenceRequested
from services.shared.domain.money import Usage
from services.shared.domain.no_json import NO_JSON
from services.shared.domain.terminal import Answer

_VECTORS = (b"[", b'"')
"""How an embedding begins: numbers, or base64 of them."""

_AS_THEY_ARE = dict[str, msgspec.Raw]
_INPUT = "input"
_NOT_SHAPING = frozenset({_INPUT, "user", "cache"})
_NOT_OF_A_VECTOR = frozenset({*_NOT_SHAPING, "model", "encoding_format"})

Known = Mapping[bytes, Vector]
"""Vectors of inputs, by the JSON text of the input."""

NOT_SENT = -1
"""Place of an input whose vector is known."""


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """A call for several requests.

    Attributes:
        body: What is sent.
        places: For each member, where each of its inputs stands in the call, or ``NOT_SENT``.
        inputs: For each member, its inputs as JSON texts.
        known: For each member, vectors that need not be asked for.
    """

    body: bytes
    places: tuple[tuple[int, ...], ...]
    inputs: tuple[tuple[bytes, ...], ...]
    known: tuple[Known, ...]


class Sent(NamedTuple):
    """The embedding that came for an input, what it cost in tokens, and who says he made it."""

    embedding: msgspec.Raw
    tokens: int
    model: str


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of a call, taken apart.

    Attributes:
        answers: An answer for each member.
        sent: For each member, what came for those of its inputs that were sent.
    """

    answers: list[Answer]
    sent: list[dict[bytes, Sent]]


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
    return _but(body, _NOT_SHAPING)


def vector_key(body: bytes) -> bytes:
    """What of a request shapes a vector beside its input, the provider and its model."""
    return _but(body, _NOT_OF_A_VECTOR)


def inputs_of(body: bytes) -> tuple[bytes, ...]:
    """The inputs of a request as JSON texts; a single one (text or tokens) is one alone."""
    given = msgspec.json.decode(body, type=_AS_THEY_ARE)[_INPUT]
    if not bytes(given).lstrip().startswith(b"["):
        return (bytes(given),)
    items = [bytes(item) for item in msgspec.json.decode(given, type=list[msgspec.Raw])]
    if items[0].lstrip()[:1].isdigit():  # one input as a list of tokens
        return (bytes(given),)
    return tuple(items)


def merged_call(bodies: Sequence[bytes], known: Sequence[Known] = ()) -> Merged:
    """Build one call from the bodies of requests with equal ``merge_key``.

    Args:
        bodies: Their bodies.
        known: For each of them, vectors that need not be asked for; empty = none. One input at
            least has to be left.
    """
    known = tuple(known) or ({},) * len(bodies)
    inputs = tuple(inputs_of(body) for body in bodies)
    positions: dict[bytes, int] = {}
    places = tuple(
        tuple(
            NOT_SENT if item in has else positions.setdefault(item, len(positions)) for item in own
        )
        for own, has in zip(inputs, known, strict=True)
    )
    body = bodies[0]
    if len(bodies) > 1 or len(positions) < len(places[0]):
        fields = msgspec.json.decode(body, type=_AS_THEY_ARE)
        if len(bodies) > 1:
            fields.pop("user", None)  # one caller's user would stand for all
        fields[_INPUT] = msgspec.Raw(b"[" + b",".join(positions) + b"]")
        body = msgspec.json.encode(fields)
    return Merged(body=body, places=places, inputs=inputs, known=known)


def split_answer(merged: Merged, requests: Sequence[InferenceRequested], body: bytes) -> Split:
    """Turn the answer of a call into one for each member.

    Raises:
        Malformed: It does not hold one embedding for each input, or one too large for a record.
        ProviderError: It is an error in the place of an answer.
    """
    response = _read(body, wanted=1 + max(max(own) for own in merged.places))
    by_index = {item.index: item.embedding for item in response.data}
    weights = [
        _part_sent(request.estimated_input_tokens, own, inputs)
        for request, own, inputs in zip(requests, merged.places, merged.inputs, strict=True)
    ]
    usage = reported_usage(response.usage, has_output=False)
    if usage is None or not usage.input_tokens:
        usage = Usage(input_tokens=sum(weights), is_estimated=True)
    answers, sent = [], []
    for i, tokens in enumerate(shares(usage.input_tokens, weights)):
        places, inputs = merged.places[i], merged.inputs[i]
        embeddings = {
            item: by_index[place]
            for item, place in zip(inputs, places, strict=True)
            if place != NOT_SENT
        }
        parts = shares(tokens, [len(item) for item in embeddings]) if embeddings else []
        model = response.model or ""
        came = {
            item: Sent(embedding, part, model)
            for (item, embedding), part in zip(embeddings.items(), parts, strict=True)
        }
        billed = Usage(input_tokens=tokens, is_estimated=usage.is_estimated)
        answers.append(
            _answer(requests[i].body, inputs, merged.known[i], embeddings, model, billed)
        )
        sent.append(came)
    return Split(answers=answers, sent=sent)


def answer_of_known(body: bytes, known: Known) -> Answer:
    """The answer to a request all of whose inputs are known; nobody is paid for it.

    Raises:
        Malformed: It is too large for a record.
    """
    inputs = inputs_of(body)
    return _answer(body, inputs, known, {}, known[inputs[0]].model, Usage())


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


def _but(body: bytes, left_out: frozenset[str]) -> bytes:
    fields = msgspec.json.decode(body, type=_AS_THEY_ARE)
    return msgspec.json.encode({k: fields[k] for k in sorted(fields) if k not in left_out})


def _read(body: bytes, *, wanted: int) -> _Response:
    try:
        response = msgspec.json.decode(body, type=_Response)
    except NO_JSON as error:
        raise Malformed("the answer is not a list of embeddings") from error
    if response.error:
        raise ProviderError(response.error)
    indexes = {item.index for item in response.data}
    if indexes != set(range(wanted)) or len(response.data) != wanted:
        raise Malformed(f"{len(response.data)} embeddings came back for {wanted} inputs")
    if not all(bytes(memoryview(item.embedding)[:1]) in _VECTORS for item in response.data):
        raise Malformed("an embedding is neither a list nor a text")
    return response


def _part_sent(tokens: int, places: Sequence[int], inputs: Sequence[bytes]) -> int:
    """Of a request's tokens those of the inputs that are sent, by their length."""
    if NOT_SENT not in places:
        return tokens
    sent = sum(len(item) for item, place in zip(inputs, places, strict=True) if place != NOT_SENT)
    return -(-tokens * sent // sum(map(len, inputs)))


def _answer(  # noqa: PLR0913, PLR0917  # an answer has these parts
    body: bytes,
    inputs: Sequence[bytes],
    known: Known,
    embeddings: Mapping[bytes, msgspec.Raw],
    model: str,
    billed: Usage,
) -> Answer:
    kept = {item: known[item] for item in inputs if item not in embeddings}
    rendered = dict(embeddings)
    if kept:
        is_base64 = _is_base64(body)
        rendered.update(
            (item, json_of_vector(it, is_base64=is_base64)) for item, it in kept.items()
        )
    items = [_Item(embedding=rendered[item], index=index) for index, item in enumerate(inputs)]
    told = msgspec.structs.replace(
        billed, input_tokens=billed.input_tokens + sum(it.tokens for it in kept.values())
    )
    usage = {"prompt_tokens": told.input_tokens, "total_tokens": told.input_tokens}
    response = msgspec.json.encode(
        {"object": "list", "data": items, "model": model, "usage": usage}
    )
    if len(response) > MAX_ANSWER_BYTES:
        raise Malformed(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
    return Answer(
        response=response,
        usage=told,
        billed=billed if kept else None,
        finish_reason="stop",
        response_model=model,
    )


def _is_base64(body: bytes) -> bool:
    fields = msgspec.json.decode(body, type=_AS_THEY_ARE)
    return bytes(fields.get("encoding_format", b"")) == b'"base64"'
