"""Leaves out of prompts what says nothing: repeated blanks, and context that is repeated. Pure.

Only plain prose of system, developer and user messages is touched. What may bear meaning by its
blanks is not: fenced code, indented lines, tables, JSON and markup, anything in quotes, blanks
beside digits. A long paragraph that stood before, word for word, is replaced by a note which says
so: where two texts are to be compared, the model still knows that they are the same. Doing it twice
changes nothing.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

MIN_REPEATED_CHARS = 300
"""A shorter paragraph is never replaced."""

MAX_TEXT_CHARS = 1_000_000
"""A longer text is left as it is."""

_ROLES = frozenset({"system", "developer", "user"})
_FENCE = re.compile(r"[ ]{0,3}(```|~~~)")
_GAP = re.compile(r"(?<=[^\s\d]) {2,}(?=[^\s\d])")
_TABLE_GAP = re.compile(r"[^\s.!?:;,] {2,}\S")
_NOT_PROSE = re.compile(r"[\t|{}\[\]<>\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb=\\]")
_NOTE = "(The paragraph that begins \u201c{}\u201d is repeated here.)"
_NOTED_CHARS = 60


class Saved(msgspec.Struct):
    """Characters that were left out."""

    blanks: int = 0
    repeats: int = 0


def compact_messages(messages: Sequence[Any]) -> Saved:
    """Compact the texts of messages in place; what was saved.

    Args:
        messages: Messages of an admitted chat request, decoded.
    """
    saved, seen = Saved(), set[str]()
    for message in messages:
        if message.get("role") not in _ROLES:
            continue
        content = message.get("content")
        if isinstance(content, str):
            message["content"] = compact_text(content, seen, saved)
            continue
        for part in content if isinstance(content, list) else ():
            if part.get("type") == "text" and isinstance(part.get("text"), str):
                part["text"] = compact_text(part["text"], seen, saved)
    return saved


def compact_text(text: str, seen: set[str], saved: Saved) -> str:
    """Compact one text.

    Args:
        text: The text.
        seen: Paragraphs that stood before it; its own are added.
        saved: What was saved; it is added to.
    """
    if len(text) > MAX_TEXT_CHARS or _is_json(text):
        return text
    blocks = list(_blocks(text))
    is_prose = [_is_prose(block) for block in blocks]
    dense = [_dense(block, seen, saved) if is_prose[i] else block for i, block in enumerate(blocks)]
    for i in range(1, len(blocks) - 1):
        if is_prose[i - 1] and is_prose[i + 1] and len(blocks[i]) > 1 and not any(blocks[i]):
            saved.blanks += len(blocks[i]) - 1
            dense[i] = [""]
    return "\n".join(line for block in dense for line in block)


def _dense(block: Sequence[str], seen: set[str], saved: Saved) -> list[str]:
    dense = [_without_gaps(block, i) for i in range(len(block))]
    saved.blanks += sum(map(len, block)) - sum(map(len, dense))
    return _unless_repeated(dense, seen, saved)


def _blocks(text: str) -> Iterator[list[str]]:
    """Lines of a text in groups: a paragraph, a fenced block, or the empty lines between them."""
    group: list[str] = []
    fence = ""
    for line in text.split("\n"):
        opened = _FENCE.match(line)
        if fence:
            group.append(line)
            if opened and opened[1] == fence:
                yield group
                group, fence = [], ""
            continue
        is_new = bool(group) and (
            opened is not None or bool(line.strip()) != bool(group[-1].strip())
        )
        if is_new:
            yield group
            group = []
        group.append(line)
        fence = opened[1] if opened else ""
    yield group


def _is_prose(block: Sequence[str]) -> bool:
    """Whether blanks in a block mean nothing, but for quotes in single lines."""
    return bool(block) and all(line[:1].strip() and not _FENCE.match(line) for line in block)


def _without_gaps(block: Sequence[str], i: int) -> str:
    """A line with single blanks, unless it is, or may be, something else than plain words."""
    line = block[i]
    if "  " not in line or _NOT_PROSE.search(line):
        return line
    neighbours = block[max(0, i - 1) : i + 2]
    is_table = len(neighbours) > 1 and sum(bool(_TABLE_GAP.search(it)) for it in neighbours) > 1
    return line if is_table else _GAP.sub(" ", line)


def _unless_repeated(block: list[str], seen: set[str], saved: Saved) -> list[str]:
    text = "\n".join(block)
    if len(text) < MIN_REPEATED_CHARS:
        return block
    if text not in seen:
        seen.add(text)
        return block
    note = _NOTE.format(block[0][:_NOTED_CHARS].strip())
    saved.repeats += len(text) - len(note)
    return [note]


def _is_json(text: str) -> bool:
    if text.lstrip()[:1] not in {"{", "["}:
        return False
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True
