"""What settles that an answer is not good."""

from typing import Any

import pytest

from services.model_caller.cascade.faults import fault_of_text, hard_fault, loops
from services.shared.domain.cascade.asked import Asked
from services.shared.domain.cascade.signals import Given, given_of

TOOL = {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}}


def answer(content: str | None = "It is 7.", *, reason: str = "stop", **more: Any) -> Given:
    """What is read of a chat answer."""
    message = {"role": "assistant", "content": content, **more}
    return given_of({"choices": [{"message": message, "finish_reason": reason}]})


def calling(name: str, arguments: str) -> Given:
    """An answer that calls a tool."""
    call = {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return answer(None, reason="tool_calls", tool_calls=[call])


ASKED = Asked(prompt="How many are 3 and 4?", tools={"weather": TOOL})


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (answer(), None),
        (answer(reason="length"), "length"),
        (answer(reason="content_filter"), "content_filter"),
        (answer(" \n"), "empty"),
        (answer(None), "empty"),
        (answer(None, refusal="No."), "refusal"),
        (answer("seven " * 400), "repetition"),
        (calling("weather", '{"city": "Bergen"}'), None),
        (calling("forecast", "{}"), "tool_unknown"),
        (calling("weather", "{"), "tool_arguments"),
        (calling("weather", ""), "tool_arguments"),
        (calling("weather", '{"city": 7}'), "tool_arguments"),
    ],
)
def test_hard_faults(given: Given, fault: str | None) -> None:
    """What settles it."""
    assert hard_fault(ASKED, given) == fault


def test_json_has_to_be_json() -> None:
    """Where it was asked for, in the shape that was asked for."""
    asked = Asked(prompt="Go.", wants_json=True, schema=TOOL)
    assert hard_fault(asked, answer('{"city": "Bergen"}')) is None
    assert hard_fault(asked, answer("{}")) == "invalid_json"
    assert hard_fault(asked, answer("Bergen")) == "invalid_json"


def test_a_missing_format_is_a_hard_fault() -> None:
    """Wherever it was demanded."""
    asked = Asked(prompt="How many?", guidance="End with #### <answer>.")
    assert hard_fault(asked, answer("It is 7.")) == "format"
    assert hard_fault(asked, answer("#### 7")) is None


def test_a_completion_that_reaches_its_cap_is_whole() -> None:
    """Completions end by their cap as a rule."""
    given = given_of({"choices": [{"text": "and so on", "finish_reason": "length"}]})
    assert given.text == "and so on"
    assert hard_fault(Asked(prompt="Once", is_chat=False), given) is None


def test_short_texts_do_not_loop() -> None:
    """Nor do long ones that say something new."""
    assert not loops("no " * 20)
    assert not loops(" ".join(str(number * number) for number in range(600)))
    assert loops("As I said, the answer is clear. " * 60)


def test_a_script_that_nobody_asked_for_is_a_hard_fault() -> None:
    """Of beginnings, too."""
    asked = Asked(prompt="Wie tief ist das Meer an dieser Stelle?")
    text = "\u8fd9\u7247\u6d77\u5927\u7ea6\u6709\u56db\u5343\u7c73\u6df1\u6ca1\u6709"
    assert hard_fault(asked, answer(text)) == "script"
    assert fault_of_text(asked, text) == "script"
    assert fault_of_text(asked, "Etwa vier Kilometer.") is None


def test_a_language_that_nobody_asked_for_is_a_hard_fault() -> None:
    """Of beginnings, too; but not where an image may have said it."""
    prompt = "What do bees do in the winter?"
    text = (
        "Im Winter bleiben die Bienen im Stock und wärmen sich, bis es wieder warm ist und blüht."
    )
    assert hard_fault(Asked(prompt=prompt), answer(text)) == "language"
    assert fault_of_text(Asked(prompt=prompt), text) == "language"
    assert hard_fault(Asked(prompt=prompt, shows=True), answer(text)) is None
    assert hard_fault(Asked(prompt=prompt, turns=(text,)), answer(text)) is None
    assert hard_fault(Asked(prompt=prompt, guidance="Speak German."), answer(text)) is None
    assert hard_fault(Asked(prompt=text), answer(text)) is None
