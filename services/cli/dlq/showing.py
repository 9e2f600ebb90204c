"""Dead letters as people and programs read them."""

import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from rich.console import Console

from services.cli.dlq.reading import decoded, end_text
from services.cli.tables import age, print_table, say
from services.cli.times import time_text
from services.shared.domain import dead_letters as names
from services.shared.domain.dead_letter_reasons import is_retriable
from services.shared.domain.dead_letter_table import Found
from services.shared.domain.events import InferenceFinished
from services.shared.stream.bulk import Read

_NUMBERS = {
    names.ORIGINAL_PARTITION: ">i",
    names.ORIGINAL_OFFSET: ">q",
    names.ORIGINAL_TIMESTAMP: ">q",
}


def print_list(console: Console, letters: Sequence[Found], *, now_ms: float) -> None:
    """One line a dead letter, and how many there are by topic and reason."""
    if not letters:
        say(console, "No dead letters.")
        return
    print_table(
        console,
        ("id", "reason", "age", "request", "bytes", "redriven"),
        [_row(found, now_ms) for found in letters],
        right=frozenset({"age", "bytes"}),
    )
    say(console, "")
    print_table(
        console,
        ("topic", "reason", "dead letters", "redriven"),
        [
            (count["topic"], count["reason"], str(count["dead_letters"]), str(count["redriven"]))
            for count in counts(letters)
        ],
        right=frozenset({"dead letters", "redriven"}),
    )


def counts(letters: Iterable[Found]) -> list[dict[str, Any]]:
    """How many there are by topic and reason, and how many of them were redriven."""
    total: Counter[tuple[str, str]] = Counter()
    redriven: Counter[tuple[str, str]] = Counter()
    for found in letters:
        kind = (found.letter.origin.topic, found.letter.reason)
        total[kind] += 1
        redriven[kind] += bool(found.marks)
    return [
        {"topic": kind[0], "reason": kind[1], "dead_letters": count, "redriven": redriven[kind]}
        for kind, count in sorted(total.items())
    ]


def document(found: Found) -> dict[str, Any]:
    """A dead letter for programs."""
    letter = found.letter
    return {
        "id": str(letter.origin),
        "topic": letter.origin.topic,
        "partition": letter.origin.partition,
        "offset": letter.origin.offset,
        "dead_letter": str(letter.place),
        "reason": letter.reason,
        "retriable": is_retriable(letter.reason),
        "detail": letter.detail,
        "groups": list(found.groups),
        "written_at_ms": letter.written_at_ms,
        "died_at_ms": letter.died_at_ms,
        "request_ids": list(found.request_ids),
        "bytes": found.size_bytes,
        "is_value_kept": letter.omitted_bytes < 0,
        "copies": found.copies,
        "redrives": letter.redrives,
        "redriven": [
            {"to": str(mark.to), "at_ms": mark.at_ms, "from": str(mark.letter)}
            for mark in found.marks
        ],
    }


def whole_document(
    found: Found, read: Read, ends: Mapping[str, InferenceFinished], *, with_text: bool
) -> dict[str, Any]:
    """A dead letter with its headers, its record and how its requests ended."""
    event = decoded(found.letter.origin.topic, read.value)
    record = None
    if event is not None:
        built = msgspec.to_builtins(event, builtin_types=(bytes,))
        record = {type(event).__name__: _readable(built, with_text=with_text)}
    return document(found) | {
        "key": None if read.key is None else header_text("", read.key),
        "headers": [[name, header_text(name, content)] for name, content in read.headers],
        "record": record,
        "requests": {r: end_text(ends.get(r)) for r in found.request_ids},
    }


def print_whole(console: Console, shown: Mapping[str, Any], *, now_ms: float) -> None:
    """The same for people."""
    is_retriable_text = "may pass once mended" if shown["retriable"] else "never passes as it is"
    lines = [
        ("id", shown["id"]),
        ("reason", f"{shown['reason']} ({is_retriable_text}): {shown['detail']}"),
        ("given up", f"{_when(shown['died_at_ms'], now_ms)} by {', '.join(shown['groups'])}"),
        ("written", _when(shown["written_at_ms"], now_ms)),
        ("dead letter", f"{shown['dead_letter']}, copies: {shown['copies']}"),
        ("value", f"{shown['bytes']} bytes{'' if shown['is_value_kept'] else ', not kept'}"),
        ("key", shown["key"] or "none"),
    ]
    lines += [("request", f"{request} {end}") for request, end in shown["requests"].items()]
    lines += [
        ("redriven", f"{_when(mark['at_ms'], now_ms)} to {mark['to']}")
        for mark in shown["redriven"]
    ]
    print_table(console, ("what", ""), lines)
    say(console, "")
    print_table(console, ("header", "value"), shown["headers"])
    say(console, "")
    if shown["record"] is None:
        say(console, "The value cannot be decoded.")
    else:
        say(console, msgspec.json.format(msgspec.json.encode(shown["record"]), indent=2).decode())


def header_text(name: str, content: bytes) -> str:
    """A header's value: numbers of Spring's as numbers, text as text, else hex."""
    form = _NUMBERS.get(name)
    if form is not None and len(content) == struct.calcsize(form):
        return str(struct.unpack(form, content)[0])
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.hex()


def request_text(request_ids: Sequence[str]) -> str:
    """The requests of a dead letter in a few characters."""
    if not request_ids:
        return "-"
    others = len(request_ids) - 1
    return request_ids[0] + (f" +{others}" if others else "")


def _row(found: Found, now_ms: float) -> tuple[str, ...]:
    letter = found.letter
    return (
        str(letter.origin),
        letter.reason,
        age((now_ms - letter.died_at_ms) / 1000),
        request_text(found.request_ids),
        str(found.size_bytes),
        f"to {found.marks[-1].to}" if found.marks else "no",
    )


def _when(unix_ms: int, now_ms: float) -> str:
    return f"{time_text(unix_ms)}, {age((now_ms - unix_ms) / 1000)} ago"


def _readable(value: Any, *, with_text: bool) -> Any:
    """Values of JSON; what holds prompts and answers, which are bytes, only where it is wanted."""
    if isinstance(value, dict):
        return {name: _readable(item, with_text=with_text) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_readable(item, with_text=with_text) for item in value]
    if not isinstance(value, bytes):
        return value
    if not with_text:
        return f"<{len(value)} bytes; --text shows them>"
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value.decode(errors="replace")
