"""Answers in a script that nobody asked for."""
# ruff: noqa: RUF001  # other scripts are the subject

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.cascade.scripts import is_in_foreign_script, scripts_in

GERMAN = "Wie tief ist das Meer an dieser Stelle?"
CHINESE = "这片海大约有四千米深，没有人到过海底。"
RUSSIAN = "Море в этом месте глубиной около четырёх километров."


@pytest.mark.parametrize(
    ("answer", "prompt", "guidance", "before", "is_foreign"),
    [
        (CHINESE, GERMAN, "", "", True),
        (RUSSIAN, "How deep is the sea?", "Be short.", "", True),
        (RUSSIAN, "这片海有多深？没有人到过海底吗？", "", "", True),
        (CHINESE, GERMAN, "Antworte auf Chinesisch.", "", False),
        (CHINESE, "Translate: the sea is deep.", "", "", False),
        (CHINESE, "What is the Chinese sentence for that?", "", "", False),
        (CHINESE, "Please go on with your answer.", "", CHINESE, False),
        (CHINESE, "Was heißt 海 genau?", "", "", False),
        (CHINESE, "7 + 4?", "", "", False),
        ("東京都千代田区永田町一丁目", "日本の首都はどこにありますか？", "", "", False),
        ("The sea is deep here.", RUSSIAN, "", "", False),
        ("α + β = γ", GERMAN, "", "", False),
        ("The word for it is глубина, from the Slavic root.", GERMAN, "", "", False),
    ],
)
def test_foreign_scripts(
    answer: str, prompt: str, guidance: str, before: str, *, is_foreign: bool
) -> None:
    """Nobody wrote in it before, and no language is named; Latin letters are at home everywhere."""
    found = is_in_foreign_script(
        answer, prompt=prompt, guidance=guidance, before=scripts_in([before])
    )
    assert found == is_foreign


@given(st.text())
def test_who_asks_in_a_script_may_be_answered_in_it(text: str) -> None:
    """An answer that repeats its prompt is never foreign."""
    assert not is_in_foreign_script(text, prompt=text, guidance="", before=frozenset())
