"""What answers show."""

import math

import msgspec
import pytest

from services.shared.domain.cascade.asked import Asked, asked_of
from services.shared.domain.cascade.signals import (
    KNOWN,
    Given,
    given_of,
    signals_of,
)
from tests.support.example_events import requested

TOOL = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}


ASKED = Asked(prompt="How many are 3 and 4?", tools={"weather": TOOL})


@pytest.mark.parametrize(
    ("prompt", "text", "signal", "value"),
    [
        ("How many are 3 and 4?", "3 + 4 = 8", "wrong_equations", 1.0),
        ("How many are 3 and 4?", "3 + 4 = 7", "right_equations", math.log(2)),
        ("How many are 3 and 4?", "3 + 4 = 7\nThe answer is 9", "number_from_nowhere", 1.0),
        ("Explain.", "I think it is.", "hedges", 1.0),
        ("Explain.", "I cannot help with it.", "refuses", 1.0),
        ("Explain.", "It is because the", "unfinished", 1.0),
        ("Explain.", "```\nopen", "unfinished", 1.0),
        ("Write Python.", "```python\ndef f(:\n```", "broken_code", 1.0),
        ("Explain.", "Therefore it is.", "has_conclusion", 1.0),
    ],
)
def test_soft_signals(prompt: str, text: str, signal: str, value: float) -> None:
    """Each is seen where it stands."""
    assert signals_of(Asked(prompt=prompt), Given(text=text))[signal] == pytest.approx(value)


def test_a_faultless_answer_shows_no_fault() -> None:
    """Only how long it is, and that it has worked something out and concluded."""
    found = signals_of(ASKED, Given(text="3 + 4 = 7.\nThe answer is 7."))
    style = {"right_equations", "length", "length_to_prompt", "has_conclusion"}
    assert found.keys() == style | {"prompt_length"}


def test_code_that_parses_is_not_broken() -> None:
    """Nor is what is too long, or too deep, to be looked at."""
    for code in (
        "x = 1",
        "x = " + "(" * 150 + "1" + ")" * 150,
        "x = 1\n" * 5_000,
        "-" * 9_000 + "1",
    ):
        given = Given(text=f"```python\n{code}\n```")
        assert "broken_code" not in signals_of(Asked(prompt="Go."), given)


def test_a_cap_that_is_reached_shows() -> None:
    """As far as tokens are counted."""
    given = Given(text="It is.", output_tokens=19)
    assert signals_of(Asked(prompt="Go.", max_tokens=20), given)["near_cap"] == 1.0
    assert "near_cap" not in signals_of(Asked(prompt="Go.", max_tokens=40), given)


def test_log_probabilities_are_read_by_quantile() -> None:
    """Of chat and of completions; bounded; a missing one makes all of them worth nothing."""
    tokens = [{"token": "a", "logprob": -float(value)} for value in range(20)]
    choice = {"message": {"content": "a"}, "finish_reason": "stop"}
    given = given_of({"choices": [{**choice, "logprobs": {"content": tokens}}]})
    found = signals_of(Asked(), given)
    assert (found["has_logprobs"], found["logprob_min"]) == (1.0, -10.0)
    assert found["logprob_first"] == -2.0
    assert found["logprob_p10"] == -10.0
    odd = given_of({"choices": [{"text": "a", "logprobs": {"token_logprobs": [None, -1.0]}}]})
    assert odd.logprobs == ()
    even = given_of({"choices": [{"text": "a", "logprobs": {"token_logprobs": [-2, -1.0]}}]})
    assert even.logprobs == (-2.0, -1.0)


def test_of_beginnings_only_what_can_be_known_is_read() -> None:
    """An unfinished beginning is no fault."""
    found = signals_of(ASKED, Given(text="I think that 3 + 4 ="), is_whole=False)
    assert found == {
        "hedges": 1.0,
        "prompt_length": pytest.approx(math.log1p(len(ASKED.prompt) / 100)),
    }


def test_every_signal_is_known() -> None:
    """A calibration can name each of them."""
    given = Given(text="I cannot help. 3 + 4 = 8 ```python\n(\n```", logprobs=(-1.0,))
    assert signals_of(Asked(prompt="How many are 3 and 4?", max_tokens=1), given).keys() <= KNOWN


def test_what_is_asked_is_read_from_the_body() -> None:
    """The last user message, what the system says, the schema and the tools."""
    body = {
        "model": "small",
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "Old."},
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": [{"type": "text", "text": "New."}, {"type": "image_url"}]},
        ],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": TOOL}},
        "tools": [
            {"type": "function", "function": {"name": "weather", "parameters": TOOL}},
            {"type": "custom", "custom": {"name": "other"}},
        ],
    }
    asked = asked_of(requested(body=msgspec.json.encode(body), max_output_tokens=9))
    assert asked == Asked(
        prompt="New.",
        guidance="Be short.",
        max_tokens=9,
        wants_json=True,
        schema=TOOL,
        tools={"weather": TOOL},
        turns=("Be short.", "Old.", "Yes.", "New."),
        shows=True,
    )
    plain = asked_of(requested(body=b'{"prompt":"Once"}', operation="text_completion"))
    assert (plain.prompt, plain.is_chat, plain.wants_json) == ("Once", False, False)
