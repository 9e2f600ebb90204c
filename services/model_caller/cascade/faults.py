"""Hard faults: an answer that has one is not good, whatever else it shows. Pure."""

import zlib
from collections.abc import Sequence

import msgspec

from services.model_caller.levers.structure import fault_of_content
from services.shared.domain.cascade.asked import Asked
from services.shared.domain.cascade.languages import is_in_foreign_language
from services.shared.domain.cascade.phrases import misses_format
from services.shared.domain.cascade.scripts import is_in_foreign_script
from services.shared.domain.cascade.signals import Given
from services.shared.domain.no_json import NO_JSON

_TAIL_CHARS = 4_000
_MIN_LOOP_CHARS = 800
_LOOP_RATIO = 0.08


def hard_fault(asked: Asked, given: Given) -> str | None:
    """Why a whole answer is not good, for certain; None = nothing speaks against it for certain."""
    is_cut = given.finish_reason == "length" and asked.is_chat  # completions end so as a rule
    if is_cut or given.finish_reason == "content_filter":
        return given.finish_reason
    if given.refusal:
        return "refusal"
    if given.calls:
        return _fault_of_calls(asked, given.calls)
    if not given.text.strip():
        return "empty"
    if asked.wants_json:
        return "invalid_json" if fault_of_content(given.text, asked) else None
    if misses_format(asked.guidance, asked.prompt, given.text):
        return "format"
    return fault_of_text(asked, given.text)


def fault_of_text(asked: Asked, text: str) -> str | None:
    """Why a text, also the beginning of one, is not good, for certain; None = nothing says so."""
    if loops(text):
        return "repetition"
    is_foreign = is_in_foreign_script(
        text, prompt=asked.prompt, guidance=asked.guidance, before=asked.scripts
    )
    if is_foreign:
        return "script"
    is_foreign = not asked.shows and is_in_foreign_language(
        text, prompt=asked.prompt, others=asked.others
    )
    return "language" if is_foreign else None


def loops(text: str) -> bool:
    """Whether the end of a text says the same over and over: it packs far too well."""
    tail = text[-_TAIL_CHARS:].encode(errors="replace")
    if len(tail) < _MIN_LOOP_CHARS:
        return False
    return len(zlib.compress(tail, 1)) < _LOOP_RATIO * len(tail)


def _fault_of_calls(asked: Asked, calls: Sequence[tuple[str, str]]) -> str | None:
    if not calls:
        return None
    from services.model_caller.levers.schemas import why_not  # noqa: PLC0415  # as in structure

    for name, arguments in calls:
        if name not in asked.tools:
            return "tool_unknown"
        try:
            value = msgspec.json.decode(arguments or "{}")
        except NO_JSON:
            return "tool_arguments"
        if why_not(asked.tools[name], value) is not None:
            return "tool_arguments"
    return None
