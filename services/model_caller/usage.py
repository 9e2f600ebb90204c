"""What a call cost in tokens: as the provider reports it, or estimated."""

from collections.abc import Callable, Iterable
from typing import Any

from services.model_caller.deltas import text_bytes
from services.shared.domain.events import InferenceRequested, Operation
from services.shared.domain.money import Usage

BYTES_A_TOKEN = 4
_MAX_TOKENS = 1_000_000_000
_USUAL_OUTPUT_TOKENS = 256

_DETAILS = "prompt_tokens_details"
_CACHED = ((_DETAILS, "cached_tokens"), ("", "cache_read_input_tokens"))
_WRITTEN = (
    (_DETAILS, "cache_write_tokens"),
    (_DETAILS, "cache_creation_tokens"),
    ("", "cache_creation_input_tokens"),
)
"""Where providers and gateways before them say what the prompt cache did, the usual first."""


def reported_usage(reported: Any, *, has_output: bool) -> Usage | None:
    """Read a ``usage`` object; None when what it says is missing or no count.

    Args:
        reported: The object, or whatever stands in its place.
        has_output: Whether the operation has output tokens, which must then be counted.
    """
    if not isinstance(reported, dict):
        return None
    input_tokens = _count(reported.get("prompt_tokens"))
    output_tokens = _count(reported.get("completion_tokens", None if has_output else 0))
    if input_tokens is None or output_tokens is None:
        return None
    cached = min(input_tokens, _first(reported, _CACHED))
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=cached,
        cache_write_input_tokens=min(input_tokens - cached, _first(reported, _WRITTEN)),
        reasoning_output_tokens=min(
            output_tokens, _detail(reported, "completion_tokens_details", "reasoning_tokens")
        ),
    )


def usage_of(request: InferenceRequested, reported: Any, choices: Callable[[], Any]) -> Usage:
    """What a provider reports, unless it is impossible: no input, or no output where there is some.

    The estimate that takes its place is the admission's, and four bytes of output a token.

    Args:
        request: The request.
        reported: The ``usage`` object, or whatever stands in its place.
        choices: Makes the choices of the answer, should an estimate be needed.
    """
    usage = reported_usage(reported, has_output=True)
    if usage is not None and usage.input_tokens and usage.output_tokens:
        return usage
    estimate = Usage(
        input_tokens=request.estimated_input_tokens,
        output_tokens=-(-text_bytes(choices()) // BYTES_A_TOKEN),
        is_estimated=True,
    )
    is_possible = usage is not None and (
        (usage.input_tokens or not estimate.input_tokens)
        and (usage.output_tokens or not estimate.output_tokens)
    )
    return usage if usage is not None and is_possible else estimate


def tokens_of(requests: Iterable[InferenceRequested]) -> int:
    """What requests will cost in tokens, input and wanted output, before they are asked."""
    tokens = 0
    for request in requests:
        tokens += request.estimated_input_tokens
        if request.operation != Operation.EMBEDDINGS:
            output_tokens = request.max_output_tokens or _USUAL_OUTPUT_TOKENS
            tokens += output_tokens * max(1, request.choice_count)
    return tokens


def usage_document(usage: Usage) -> dict[str, int]:
    """A ``usage`` object."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= _MAX_TOKENS else None


def _first(usage: dict[str, Any], places: tuple[tuple[str, str], ...]) -> int:
    """The first count of several places that is not 0."""
    for group, name in places:
        count = _detail(usage, group, name) if group else _count(usage.get(name))
        if count:
            return count
    return 0


def _detail(usage: dict[str, Any], group: str, name: str) -> int:
    details = usage.get(group)
    value = details.get(name) if isinstance(details, dict) else None
    return _count(value) or 0
