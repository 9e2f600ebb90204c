"""Scripts of texts: who asks in one cannot be taken to read another. Pure."""

import re
from collections.abc import Iterable

_SAMPLE_CHARS = 2_000
_LEAST_LETTERS = 10
_CERTAIN_SHARE = 0.7
_SCRIPTS = {
    name: re.compile(f"[{ranges}]")
    for name, ranges in {
        "greek": "\u0370-\u03ff",
        "cyrillic": "\u0400-\u052f",
        "hebrew": "\u0590-\u05ff",
        "arabic": "\u0600-\u077f",
        "devanagari": "\u0900-\u097f",
        "thai": "\u0e00-\u0e7f",
        "hangul": "\u1100-\u11ff\uac00-\ud7af",
        "han": "\u3040-\u30ff\u3400-\u9fff",  # and kana: Japanese is written in both
    }.items()
}
_NAMED = re.compile(
    r"translat|übersetz|tradu|перевед|перевод|китайск|японск|корейск|"
    r"翻译|翻訳|[英俄日韩中][语文]|\b(?:language|sprache|langue|idioma|alphabet|"
    r"bilingual|multilingual|chinese|mandarin|cantonese|chinesisch|chinois|chino|japanese|kanji|"
    r"hiragana|katakana|japanisch|japonais|korean|hangul|koreanisch|russian|cyrillic|russisch|russe|"
    r"ruso|ukrainian|bulgarian|serbian|greek|griechisch|grec|griego|hebrew|hebräisch|arabic|arabisch|"
    r"arabe|persian|farsi|urdu|hindi|sanskrit|nepali|marathi|thai)",
    re.IGNORECASE,
)


def scripts_in(texts: Iterable[str]) -> frozenset[str]:
    """The scripts, beside the Latin one, of which a letter stands in texts."""
    others = [text for text in texts if not text.isascii()]
    return frozenset(
        name for name, letter in _SCRIPTS.items() if any(letter.search(text) for text in others)
    )


def is_in_foreign_script(
    answer: str, *, prompt: str, guidance: str, before: frozenset[str]
) -> bool:
    """Whether an answer is in a script that nobody has written or asked for.

    Latin answers never are: names, formulas and code are Latin everywhere. A prompt or guidance
    that names a language lets all pass.

    Args:
        answer: The answer, or its beginning.
        prompt: What was asked; one of a few letters says nothing.
        guidance: What the system says.
        before: Scripts of all earlier turns.
    """
    sample = answer[:_SAMPLE_CHARS]
    if sample.isascii() or sum(map(str.isalpha, prompt[:_SAMPLE_CHARS])) < _LEAST_LETTERS:
        return False
    letters = sum(map(str.isalpha, sample))
    main = [
        name
        for name, letter in _SCRIPTS.items()
        if len(letter.findall(sample)) >= max(_LEAST_LETTERS, _CERTAIN_SHARE * letters)
    ]
    if not main or main[0] in before | scripts_in((prompt, guidance)):
        return False
    return not (names_script(prompt) or names_script(guidance))


def names_script(text: str) -> bool:
    """Whether a text names a language of another script than the Latin one, or speaks of any."""
    return _NAMED.search(text) is not None
