"""What an answer shows of its own quality: numbers that a calibration weighs. Pure.

No model is asked and nothing is learned here.
"""

import ast
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from services.shared.domain.cascade.asked import Asked, text_of
from services.shared.domain.cascade.equations import check_equations
from services.shared.domain.cascade.languages import differs_in_language
from services.shared.domain.cascade.numbers import signs_of_numbers
from services.shared.domain.cascade.phrases import hedges_in, refuses, task_of

__all__ = ["KNOWN", "Given", "given_of", "signals_of", "task_of"]

KNOWN = frozenset(
    {
        # of beginnings too
        "wrong_equations",
        "right_equations",
        "hedges",
        "refuses",
        "foreign_language",
        "has_logprobs",
        "logprob_p10",
        "logprob_min",
        "logprob_first",
        "prompt_length",
        # of whole answers alone
        "length",
        "length_to_prompt",
        "near_cap",
        "unfinished",
        "broken_code",
        "number_missing",
        "number_from_nowhere",
        "negative_result",
        "fractional_result",
        "unused_numbers",
        "has_conclusion",
    }
)
"""Names of all signals."""

MAX_READ_CHARS = 32_000
"""Characters of an answer that are read, from its beginning; its end is always looked at."""

_MAX_CODE_CHARS = 20_000
_TAIL_CHARS = 4_000
_LOWEST_LOGPROB = -10.0
_FIRST_TOKENS = 5
_NEAR_CAP = 0.9
_CODE_BLOCK = re.compile(r"```(?:python|py)[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_CONCLUSION = re.compile(
    r"####|\\boxed|\b(?:the (?:final |correct )?(?:answer|result)|therefore|in total|so,? in total|"
    r"altogether)\b",
    re.IGNORECASE,
)
_ENDINGS = tuple(".!?)]}\"'`|*0123456789\u00bb\u201d\u3002\uff01\uff1f\u2026")


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, as far as it is judged: its first choice.

    Attributes:
        text: Its words.
        finish_reason: Why it ended; empty = it has not.
        refusal: The provider's own mark of a refusal; empty = none.
        calls: Tools called: name and arguments, as the model wrote them.
        output_tokens: Tokens of the whole answer; 0 = not known.
        logprobs: Log probabilities of its tokens; empty = not given.
    """

    text: str
    finish_reason: str = ""
    refusal: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    output_tokens: int = 0
    logprobs: tuple[float, ...] = ()


def given_of(document: Mapping[str, Any], *, output_tokens: int = 0) -> Given:
    """Read a whole answer of chat or text completion."""
    choice = document["choices"][0]
    message = choice.get("message") or {}
    calls = message.get("tool_calls") or ()
    functions = [call.get("function") or {} for call in calls if isinstance(call, dict)]
    text = text_of(message.get("content")) or choice.get("text") or ""
    return Given(
        text=text,
        finish_reason=choice.get("finish_reason") or "",
        refusal=str(message.get("refusal") or ""),
        calls=tuple(
            (str(function.get("name")), str(function.get("arguments") or ""))
            for function in functions
        ),
        output_tokens=output_tokens,
        logprobs=_logprobs(choice.get("logprobs")),
    )


def is_settled_by_structure(asked: Asked, given: Given) -> bool:
    """Whether an answer without a hard fault is for machines, and needs no other judgement."""
    return bool(given.calls) or asked.wants_json


def signals_of(asked: Asked, given: Given, *, is_whole: bool = True) -> dict[str, float]:
    """All signals of an answer that are not zero.

    Args:
        asked: What was asked for.
        given: The answer, or its beginning.
        is_whole: Whether it is complete.
    """
    text = given.text[:MAX_READ_CHARS]
    right, wrong, results = check_equations(text)
    is_foreign = differs_in_language(text, prompt=asked.prompt, others=asked.others)
    found = {
        "wrong_equations": float(min(wrong, 3)),
        "right_equations": math.log1p(right),
        "hedges": float(min(hedges_in(text), 3)),
        "refuses": float(refuses(text)),
        "foreign_language": float(is_foreign and not asked.shows),
        "prompt_length": math.log1p(len(asked.prompt) / 100),
        **_of_logprobs(given.logprobs),
    }
    if is_whole:
        found |= _of_the_whole(asked, given, results)
    return {name: value for name, value in found.items() if value}


def _of_the_whole(asked: Asked, given: Given, results: frozenset[float]) -> dict[str, float]:
    text, prompt = given.text, asked.prompt
    cap = asked.max_tokens
    end = text.rstrip()[-1:]
    found = {
        "length": math.log1p(len(text) / 100),
        "length_to_prompt": max(-4.0, min(4.0, math.log((len(text) + 40) / (len(prompt) + 40)))),
        "near_cap": float(bool(cap) and given.output_tokens >= _NEAR_CAP * cap),
        "unfinished": float(not end.endswith(_ENDINGS) or text.count("```") % 2 == 1),
        "broken_code": float(_has_broken_code(text)),
        "has_conclusion": float(_CONCLUSION.search(text[-_TAIL_CHARS:]) is not None),
    }
    if task_of(prompt) == "math":
        found |= signs_of_numbers(prompt, text, results)
    return found


def _has_broken_code(text: str) -> bool:
    return any(not _parses(block) for block in _CODE_BLOCK.findall(text[:MAX_READ_CHARS]))


def _parses(code: str) -> bool:
    if len(code) > _MAX_CODE_CHARS:
        return True
    try:
        ast.parse(code)
    except (SyntaxError, ValueError):
        return False
    except (RecursionError, MemoryError):  # nested beyond what the parser bears: not known
        return True
    return True


def _of_logprobs(logprobs: Sequence[float]) -> dict[str, float]:
    """Quantiles tell more than the mean, which favours long answers."""
    if not logprobs:
        return {}
    ordered = sorted(logprobs)
    first = logprobs[:_FIRST_TOKENS]
    found = {
        "logprob_p10": ordered[len(ordered) // 10],
        "logprob_min": ordered[0],
        "logprob_first": sum(first) / len(first),
    }
    return {"has_logprobs": 1.0} | {
        name: min(0.0, max(_LOWEST_LOGPROB, value)) for name, value in found.items()
    }


def _logprobs(reported: object) -> tuple[float, ...]:
    """Log probabilities as chat or text completions report them; anything else is none."""
    fields = reported if isinstance(reported, dict) else {}
    values: list[Any]
    tokens = fields.get("content")
    if isinstance(tokens, list):
        values = [token.get("logprob") for token in tokens if isinstance(token, dict)]
    else:
        values = list(fields.get("token_logprobs") or ())
    numbers = [float(it) for it in values if isinstance(it, int | float)]
    return tuple(numbers) if len(numbers) == len(values) else ()
