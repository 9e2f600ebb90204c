"""The grammar of model names: ``base(:option(=value)(@ratio))*``.

``OPTIONS`` is the whole grammar; ``README.md`` beside this file explains it and a test keeps the
two equal. Values: durations are ``20ms``, ``1.5s`` or ``2m``; sizes are ``512kB`` or ``10MB``;
``@ratio`` (0..1, faults only) is the share of requests that a fault strikes.
"""

import re
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from services.simulator.behaviour import HEADERS, Behaviour, Fault, FaultKind, RetryAfter

FAILURE_WORDS = ("quota", "context", "content-policy")
"""Failures that are more than a status."""

_OPTION = re.compile(r"([a-z0-9-]+)(?:=([^@]*))?(?:@(.*))?")
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m)")
_SIZE = re.compile(r"(\d{1,6})(kB|MB)")
_DECIMAL = re.compile(r"\d{1,9}(?:\.\d{1,9})?")
_MS = {"ms": 1.0, "s": 1_000.0, "m": 60_000.0}
_BYTES = {"kB": 1_000, "MB": 1_000_000}
_MAX_BYTES = 256_000_000

Change: TypeAlias = dict[str, object] | Fault
Reader: TypeAlias = Callable[[str], Change]


class BadOption(ValueError):
    """An option is outside the grammar; the text says what it may be. Not retriable."""


class Option(msgspec.Struct, frozen=True):
    """One option of the grammar.

    Attributes:
        read: Turns the value's text into changed fields of ``Behaviour``, or into a fault.
        default: Value of the bare option; None = it must have one.
    """

    read: Reader
    default: str | None = None


def _duration_ms(text: str) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise BadOption("wants a duration such as 20ms, 1.5s or 2m")
    return float(match[1]) * _MS[match[2]]


def _decimal(text: str, *, low: float, high: float) -> float:
    if _DECIMAL.fullmatch(text) is None or not low <= float(text) <= high:
        raise BadOption(f"wants a number from {low:g} to {high:g}")
    return float(text)


def _integer(text: str, *, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and low <= int(text) <= high):
        raise BadOption(f"wants a whole number from {low} to {high}")
    return int(text)


def _bytes(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if match is None or int(match[1]) * _BYTES[match[2]] > _MAX_BYTES:
        raise BadOption("wants a size such as 512kB or 10MB, at most 256MB")
    return int(match[1]) * _BYTES[match[2]]


def _nothing(text: str) -> None:
    if text:
        raise BadOption("takes no value")


def _duration(field: str, **also: object) -> Option:
    return Option(lambda text: {field: _duration_ms(text), **also})


def _count(field: str, *, low: int, high: int) -> Option:
    return Option(lambda text: {field: _integer(text, low=low, high=high)})


def _number(field: str, *, low: float, high: float) -> Option:
    return Option(lambda text: {field: _decimal(text, low=low, high=high)})


def _echo(text: str) -> Change:
    _nothing(text)
    return {"echo": True}


def _reject(text: str) -> Change:
    if not text:
        raise BadOption("wants a word")
    return {"reject": text}


def _drip(text: str) -> Change:
    interval_ms = _duration_ms(text)
    if interval_ms <= 0:
        raise BadOption("wants a duration above zero")
    return {"tokens_per_s": 1_000.0 / interval_ms}


def _retry_after(text: str) -> Change:
    if text.endswith("ms"):
        return {"retry_after": RetryAfter("ms", _duration_ms(text))}
    seconds = text if text.endswith("s") else f"{text}s"
    return {"retry_after": RetryAfter("seconds", _duration_ms(seconds))}


def _retry_after_date(text: str) -> Change:
    return {"retry_after": RetryAfter("date", _duration_ms(text))}


def _fail(text: str) -> Change:
    if text in FAILURE_WORDS:
        return Fault(FaultKind.FAIL, text)
    return Fault(FaultKind.FAIL, _integer(text, low=400, high=599))


def _hang(text: str) -> Change:
    if text == HEADERS:
        return Fault(FaultKind.HANG, HEADERS)
    return Fault(FaultKind.HANG, _integer(text, low=0, high=1_000_000))


def _lie(text: str) -> Change:
    if text not in ("more", "negative", "zero"):
        raise BadOption("wants more, negative or zero")
    return Fault(FaultKind.LIE_USAGE, text)


def _at_token(kind: FaultKind, default: str) -> Option:
    return Option(lambda text: Fault(kind, _integer(text, low=0, high=1_000_000)), default)


def _sized(kind: FaultKind, default: str) -> Option:
    return Option(lambda text: Fault(kind, _bytes(text)), default)


def _plain(kind: FaultKind) -> Option:
    def read(text: str) -> Change:
        _nothing(text)
        return Fault(kind)

    return Option(read, "")


OPTIONS: dict[str, Option] = {
    # length and pace
    "tokens": _count("output_tokens", low=0, high=100_000),
    "context": _count("context_tokens", low=1, high=100_000_000),
    "ttft": _duration("ttft_ms", ttft_spread_ratio=0.0),
    "spread": _number("ttft_spread_ratio", low=0, high=3),
    "tps": _number("tokens_per_s", low=0, high=1_000_000),
    "drip": Option(_drip),
    "echo": Option(_echo, ""),
    "dim": _count("dimensions", low=1, high=8_192),
    # capacity
    "delay": _duration("delay_ms"),
    "per-item": _duration("per_item_ms"),
    "parallel": _count("parallel", low=1, high=1_000),
    "rpm": _count("requests_per_min", low=1, high=100_000_000),
    "tpm": _count("tokens_per_min", low=1, high=100_000_000),
    # refusals
    "fail": Option(_fail, "500"),
    "fail-first": _count("fail_first", low=1, high=1_000),
    "retry-after": Option(_retry_after),
    "retry-after-date": Option(_retry_after_date),
    "reject": Option(_reject),
    "redirect": _plain(FaultKind.REDIRECT),
    # the answer breaks
    "hang": Option(_hang, HEADERS),
    "cut": _at_token(FaultKind.CUT, "10"),
    "eof": _at_token(FaultKind.EOF, "10"),
    "error": _at_token(FaultKind.ERROR, "10"),
    "badjson": _at_token(FaultKind.BAD_JSON, "5"),
    # the answer is whole and wrong
    "lie-usage": Option(_lie, "more"),
    "no-usage": _plain(FaultKind.NO_USAGE),
    "dup-chunk": _at_token(FaultKind.DUP_CHUNK, "3"),
    "big-chunk": _sized(FaultKind.BIG_CHUNK, "10MB"),
    "after-end": _plain(FaultKind.AFTER_END),
    "wrong-model": _plain(FaultKind.WRONG_MODEL),
    "gzip-bomb": _sized(FaultKind.GZIP_BOMB, "100MB"),
    "split-utf8": _plain(FaultKind.SPLIT_UTF8),
    "content-filter": _at_token(FaultKind.CONTENT_FILTER, "10"),
}
"""Every option, in the order in which they are applied: ``ttft`` fixes the time to the first
token, so a ``spread`` comes after it, wherever it stands in the name."""


def _change(name: str, value: str | None, ratio: str | None) -> Change:
    option = OPTIONS.get(name)
    if option is None:
        raise BadOption("is not known")
    text = option.default if value is None else value
    if text is None:
        raise BadOption("wants a value")
    change = option.read(text)
    if ratio is None:
        return change
    if not isinstance(change, Fault):
        raise BadOption("is no fault, so it takes no @ratio")
    return Fault(change.kind, change.argument, _decimal(ratio, low=0, high=1))


def changes_from_options(options: list[str]) -> dict[str, Change]:
    """Read the options of a model name.

    Returns:
        What each option changes, by its name, in the order of ``OPTIONS``.

    Raises:
        BadOption: One is unknown, given twice, or has a value outside its grammar. Not retriable.
    """
    changes: dict[str, Change] = {}
    for text in options:
        match = _OPTION.fullmatch(text)
        if match is None:
            raise BadOption(f"option `{text}` is not known")
        name, value, ratio = match.groups()
        if name in changes:
            raise BadOption(f"option `{name}` is given twice")
        try:
            changes[name] = _change(name, value, ratio)
        except BadOption as bad:
            raise BadOption(f"option `{name}` {bad}") from None
    return {name: changes[name] for name in OPTIONS if name in changes}


def changed(base: Behaviour, changes: dict[str, Change], *, model: str) -> Behaviour:
    """Apply the options' changes to a base model."""
    faults = tuple(change for change in changes.values() if isinstance(change, Fault))
    fields: dict[str, object] = {}
    for change in changes.values():
        if not isinstance(change, Fault):
            fields |= change
    return msgspec.structs.replace(base, model=model, faults=faults, **fields)
