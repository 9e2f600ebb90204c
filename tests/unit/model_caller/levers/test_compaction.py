"""Compacted prompts say what they said."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.levers.compaction import (
    Saved,
    compact_messages,
    compact_text,
)
from services.model_caller.levers.shaping import compacted

LONG = "What is written here is long enough to be left out when it stands here twice. " * 5
LONG = LONG.strip()


def compact(text: str) -> str:
    """One text by itself."""
    return compact_text(text, set(), Saved())


@pytest.mark.parametrize(
    ("text", "dense"),
    [
        ("As I  said   before.", "As I said before."),
        ("One.\n\n\n\nTwo.", "One.\n\nTwo."),
        ("It is so.  And so.", "It is so. And so."),
    ],
)
def test_repeated_blanks_are_left_out(text: str, dense: str) -> None:
    """In plain words."""
    assert compact(text) == dense


@pytest.mark.parametrize(
    "text",
    [
        "```\nx  =  1\n\n\n\ny  = 2\n```",
        "~~~\na  b\n```\nc  d\n~~~",
        "```\nnever  closed",
        "    indented  by four",
        "\tindented  by a tab",
        "a\n  and  deeper\nb",
        '{"a":  1,   "b":  2}',
        "[1,  2]",
        "| a  | b  |\n|----|----|",
        "Name  Q1  Q2\nBob   5   6",
        "one  two  three\nfour  five  six",
        'He said "a  b" to me.',
        "The `a  b` of it.",
        "It\u2019s  here.",
        "<p>a  b</p>",
        "x  =  y",
        "1  000  metres",
        "number 1  and 2  of them",
        "C:\\a  b",
        "",
        "\n\n\n",
    ],
)
def test_what_may_bear_meaning_is_left_as_it_is(text: str) -> None:
    """Code, indentation, tables, quotes, markup, JSON, digits."""
    assert compact(text) == text


def test_a_long_paragraph_that_stood_before_is_noted() -> None:
    """The note says that it is repeated, and how it begins."""
    saved = Saved()
    dense = compact_text(f"First:\n\n{LONG}\n\nSecond:\n\n{LONG}\n\nAre they equal?", set(), saved)
    assert dense.count(LONG) == 1
    assert "is repeated here" in dense
    assert dense.endswith("Are they equal?")
    assert saved.repeats == len(f"First:\n\n{LONG}\n\nSecond:\n\n{LONG}\n\nAre they equal?") - len(
        dense
    )


def test_short_paragraphs_and_code_are_repeated() -> None:
    """A refrain costs little, and code is code."""
    code = "```\n" + "x = 1\n" * 100 + "```"
    for text in ("Yes.\n\nYes.", f"{code}\n\n{code}"):
        assert compact(text) == text


def test_what_others_said_is_not_touched() -> None:
    """Answers of the model and of tools; images."""
    messages: list[dict[str, Any]] = [
        {"role": "assistant", "content": "a  b"},
        {"role": "tool", "content": "a  b"},
        {"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "a  b"}]},
        {"role": "user", "content": None},
        {"role": "system", "content": f"{LONG}"},
        {"role": "user", "content": f"{LONG}"},
    ]
    saved = compact_messages(messages)
    assert [messages[0]["content"], messages[1]["content"]] == ["a  b", "a  b"]
    assert messages[2]["content"][1]["text"] == "a b"
    assert messages[4]["content"] == LONG
    assert messages[5]["content"] != LONG
    assert (saved.blanks, saved.repeats > 0) == (1, True)


def test_a_body_without_savings_is_the_same_bytes() -> None:
    """And one with savings differs in its messages alone."""
    body = b'{"model": "small", "temperature":1.50, "messages":[{"role":"user","content":"a b"}]}'
    assert compacted(body)[0] is body
    longer = body.replace(b"a b", b"a  b")
    shaped, saved = compacted(longer)
    assert b'"temperature":1.50' in shaped
    assert json.loads(shaped)["messages"] == [{"role": "user", "content": "a b"}]
    assert saved.blanks == 1


WORDS = st.sampled_from(
    [
        "word",
        "and",
        "7",
        "1 000",
        '"quoted  text"',
        "```",
        "    x = 1",
        "| a |",
        "end.",
        "",
        " ",
        "\t",
    ]
)
PIECES = st.lists(st.tuples(WORDS, st.sampled_from([" ", "  ", "   ", "\n", "\n\n", "\n\n\n\n"])))
TEXTS = PIECES.map(lambda pieces: "".join(word + gap for word, gap in pieces))


@given(TEXTS)
def test_every_character_but_blanks_survives(text: str) -> None:
    """In its order; so do all numbers and the order of words."""
    assert re.sub(r"\s", "", compact(text)) == re.sub(r"\s", "", text)
    assert compact(text).split() == text.split()


@given(TEXTS)
def test_compaction_is_idempotent(text: str) -> None:
    """Twice is once, also with a paragraph that is repeated."""
    for whole in (text, f"{LONG}\n\n{text}\n\n{LONG}"):
        once = compact(whole)
        assert compact(once) == once


@given(TEXTS)
def test_lines_of_code_survive_as_they_are(text: str) -> None:
    """Indented and fenced lines keep every blank."""
    block = f"```\n{text.replace('```', '')}\n```"
    assert block in compact(f"Look  here:\n\n{block}\n\nand  there")
    indented = [line for line in text.split("\n") if line.startswith((" ", "\t")) and line.strip()]
    kept = compact(text).split("\n")
    assert all(line in kept for line in indented)


@given(st.text(max_size=400))
def test_nothing_breaks_it(text: str) -> None:
    """Any text stays a text with the same words."""
    assert compact(text).split() == text.split()
