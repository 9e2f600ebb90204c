"""Text completions of several requests as one upstream call, and its answer as theirs. Pure.

Their prompts become one array of prompts. Prompts that are equal are sent as often as they are
asked for: each is a sample of its own. A member gets the choices of its own prompts under its own
indexes; what the call cost is shared out by the tokens that each member sent and the text that
each got, and the shares add up exactly.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from services.model_caller.answers import (
    MAX_ANSWER_BYTES,
    Malformed,
    ProviderError,
)
from services.model_caller.deltas import text_bytes
from services.model_caller.embeddings import shares
from services.model_caller.usage import BYTES_A_TOKEN, reported_usage, usage_document
from services.shared.domain.events import InferenceRequested
from services.shared.domain.ids import object_id
from services.shared.domain.money import Usage
from services.shared.domain.no_json import NO_JSON
from services.shared.domain.terminal import Answer

_AS_THEY_ARE = dict[str, msgspec.Raw]
_PROMPT = "prompt"
_NOT_SHAPING = frozenset({_PROMPT, "user", "cache"})


class MergedPrompts(msgspec.Struct, frozen=True, kw_only=True):
    """A call for several requests.

    Attributes:
        body: What is sent.
        counts: For each member, how many choices are its own.
    """

    body: bytes
    counts: tuple[int, ...]


class _Response(msgspec.Struct):
    choices: list[dict[str, msgspec.Raw]] = []
    usage: Any = None


def completion_key(body: bytes) -> bytes | None:
    """What must be equal for requests to share a call; None = this one is called by itself.

    That is one without a prompt: the model begins a new document, and an array cannot say so.
    """
    fields = msgspec.json.decode(body, type=_AS_THEY_ARE)
    if bytes(fields.get(_PROMPT, b"null")) == b"null":
        return None
    return msgspec.json.encode({k: fields[k] for k in sorted(fields) if k not in _NOT_SHAPING})


def count_of_prompts(body: bytes) -> int:
    """Prompts of a request."""
    return len(_prompts(body))


def merged_prompts(bodies: Sequence[bytes]) -> MergedPrompts:
    """Build one call from the bodies of several requests with equal ``completion_key``."""
    fields = msgspec.json.decode(bodies[0], type=_AS_THEY_ARE)
    choices = msgspec.json.decode(fields.get("n", b"null")) or 1
    prompts = [_prompts(body) for body in bodies]
    fields.pop("user", None)  # one caller's user would stand for all
    joined = b",".join(prompt for own in prompts for prompt in own)
    fields[_PROMPT] = msgspec.Raw(b"[" + joined + b"]")
    return MergedPrompts(
        body=msgspec.json.encode(fields), counts=tuple(choices * len(own) for own in prompts)
    )


def split_choices(
    merged: MergedPrompts, requests: Sequence[InferenceRequested], body: bytes
) -> list[Answer]:
    """Turn the answer of a call into one for each member.

    Raises:
        Malformed: It does not hold the choices of each prompt, or too many of them for a record.
        ProviderError: It is an error in the place of an answer.
    """
    try:
        fields = msgspec.json.decode(body, type=_AS_THEY_ARE)
        if error := msgspec.json.decode(fields.get("error", b"null")):
            raise ProviderError(error)
        response = msgspec.json.decode(body, type=_Response)
        choices = _in_order(response.choices, wanted=sum(merged.counts))
        model = msgspec.json.decode(fields.get("model", b"null"), type=str | None) or ""
        decoded = [{k: msgspec.json.decode(v) for k, v in it.items()} for it in choices]
    except NO_JSON as error:
        raise Malformed("the answer is not the JSON it should be") from error
    reasons = [str(choice.get("finish_reason") or "") for choice in decoded]
    if not all(reasons):
        raise Malformed("the answer does not say why it ended")
    ends = [sum(merged.counts[: i + 1]) for i in range(len(merged.counts))]
    own = [slice(end - count, end) for end, count in zip(ends, merged.counts, strict=True)]
    texts = [text_bytes(decoded[part]) for part in own]
    return [
        _answer(fields, request, choices[part], usage, reasons[part.start], model)
        for request, part, usage in zip(
            requests, own, _split_usage(response.usage, requests, texts), strict=True
        )
    ]


def _prompts(body: bytes) -> list[bytes]:
    """The prompts of a request as JSON texts; text or tokens alone are one."""
    given = msgspec.json.decode(body, type=_AS_THEY_ARE)[_PROMPT]
    if not bytes(given).lstrip().startswith(b"["):
        return [bytes(given)]
    items = [bytes(item) for item in msgspec.json.decode(given, type=list[msgspec.Raw])]
    return [bytes(given)] if items[0].lstrip()[:1].isdigit() else items


def _in_order(
    choices: list[dict[str, msgspec.Raw]], *, wanted: int
) -> list[dict[str, msgspec.Raw]]:
    by_index = {msgspec.json.decode(it.get("index", b"-1"), type=int): it for it in choices}
    if len(choices) != wanted or by_index.keys() != set(range(wanted)):
        raise Malformed(f"{len(choices)} choices came back for {wanted} that were asked for")
    return [by_index[i] for i in range(wanted)]


def _split_usage(
    reported: Any, requests: Sequence[InferenceRequested], texts: Sequence[int]
) -> list[Usage]:
    """What each member used, of what the call used; estimated where nothing credible is said."""
    estimates = [request.estimated_input_tokens for request in requests]
    whole = reported_usage(reported, has_output=True)
    if whole is None or not whole.input_tokens or (any(texts) and not whole.output_tokens):
        return [
            Usage(input_tokens=tokens, output_tokens=-(-text // BYTES_A_TOKEN), is_estimated=True)
            for tokens, text in zip(estimates, texts, strict=True)
        ]
    inputs = shares(whole.input_tokens, estimates)
    outputs = shares(whole.output_tokens, texts)
    cached = shares(whole.cached_input_tokens, inputs)
    reasoning = shares(whole.reasoning_output_tokens, outputs)
    return [
        Usage(
            input_tokens=inputs[i],
            output_tokens=outputs[i],
            cached_input_tokens=cached[i],
            reasoning_output_tokens=reasoning[i],
        )
        for i in range(len(requests))
    ]


def _answer(  # noqa: PLR0913, PLR0917  # an answer has these parts
    fields: dict[str, msgspec.Raw],
    request: InferenceRequested,
    choices: Sequence[dict[str, msgspec.Raw]],
    usage: Usage,
    finish_reason: str,
    model: str,
) -> Answer:
    own = [{**choice, "index": index} for index, choice in enumerate(choices)]
    response = msgspec.json.encode(
        {
            **fields,
            "id": object_id("cmpl", request.request_id),
            "choices": own,
            "usage": usage_document(usage),
        }
    )
    if len(response) > MAX_ANSWER_BYTES:
        raise Malformed(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
    return Answer(response=response, usage=usage, finish_reason=finish_reason, response_model=model)
