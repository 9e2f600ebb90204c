"""What the words of a prompt and of an answer give away: kind of task, doubts. Pure."""

import re

OPENING_CHARS = 200
"""Doubts and refusals are looked for at the beginning: further on, such words mean other things."""

_SAMPLE_CHARS = 2_000
_INSTRUCTION_CHARS = 4_000
_I = re.IGNORECASE

_HEDGE = re.compile(
    r"\b(?:i(?:'| a)?m not (?:entirely |completely |quite )?(?:sure|certain)|"
    r"not entirely (?:sure|clear)|"
    r"i (?:think|believe|guess|assume|suppose)|it(?:'s| is) (?:unclear|possible that|hard to say)|"
    r"(?:might|may|could) (?:be|have)|perhaps|maybe|possibly|probably|presumably|"
    r"without more (?:information|context|details)|hard to (?:say|tell)|"
    r"more information (?:is|would be) (?:needed|required)|if i understand)\b",
    _I,
)
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|afraid)|i (?:can(?:no|')t|cannot|won't|will not) "
    r"(?:help|assist|answer|provide|do|fulfil|comply|determine|access|solve)|"
    r"as an ai\b|i do(?:n't| not) (?:have (?:access|enough|the)|know)|"
    r"(?:cannot|can't) be (?:answered|determined|solved)|"
    r"unable to (?:answer|determine|provide|help))",
    _I,
)

_DEMANDS: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = (
    (
        re.compile(
            r"#### ?(?:-?\$?\d|[<{\[]|(?:the |your |a )?(?:final )?(?:answer|number|result))", _I
        ),
        re.compile(r"####[ \t]*\S"),
    ),
    (re.compile(r"\\boxed"), re.compile(r"\\boxed")),
    (re.compile(r"<answer>[^<]*</answer>|<answer> ?tags?", _I), re.compile(r"<answer>", _I)),
    (
        re.compile(
            r"\b(?:answer|reply|respond)(?: only)? with (?:only |just )?"
            r"(?:the |a |one |a single |one single )?letter\b",
            _I,
        ),
        re.compile(r"(?<![A-Za-z])[A-J](?![A-Za-z])"),
    ),
    (
        re.compile(
            r"\b(?:answer|reply|respond)(?: only)? with (?:only |just )?['\"]?yes['\"]? or", _I
        ),
        re.compile(r"\b(?:yes|no)\b", _I),
    ),
    (
        re.compile(
            r"\b(?:answer|reply|respond)(?: only)? with (?:only |just )?(?:a|the|one) number\b", _I
        ),
        re.compile(r"\d"),
    ),
)
"""Formats that a prompt can demand, and what an answer in each of them has."""

_CODE = re.compile(
    r"```|\b(?:python|javascript|typescript|java|rust|golang|sql|regex|function|method|unit tests?|"
    r"script|bash|code|program)\b|\bdef \w+\(",
    _I,
)
_CHOICE = re.compile(r"(?:^|\n)[ \t]{0,8}\(?A[.):][ \t].*?\n[ \t]{0,8}\(?B[.):][ \t]", re.DOTALL)
_QUANTITY = re.compile(
    r"\b(?:how (?:many|much|long|far|old|tall|fast|big|heavy|wide|deep|high)|"
    r"(?:what|which)(?:'s| \w+){1,5} (?:total|sum|difference|product|average|number|amount|cost|"
    r"price|percent|percentage|fraction|ratio|probability|likelihood|chance|odds|area|volume|value|speed|"
    r"distance|profit|weight|length|height|width|age|score|grade|time)|"
    r"calculate|compute|solve|find the)\b|"
    r"\bwhat (?:fraction|percent|percentage|number)\b",
    _I,
)
_FIGURE = re.compile(
    r"\d|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|"
    r"hundred|dozen|half|twice|third|quarter)\b",
    _I,
)


def task_of(prompt: str) -> str:
    """Kind of a task: ``choice``, ``code``, ``math`` or ``text``."""
    sample = prompt[-_SAMPLE_CHARS:]
    if _CHOICE.search(sample):
        return "choice"
    if _CODE.search(sample):
        return "code"
    return "math" if _QUANTITY.search(sample) and _FIGURE.search(sample) else "text"


def hedges_in(answer: str) -> int:
    """Number of words of doubt at the beginning of an answer."""
    return len(_HEDGE.findall(answer[:OPENING_CHARS]))


def refuses(answer: str) -> bool:
    """Whether an answer begins by declining."""
    return _REFUSAL.search(answer[:OPENING_CHARS]) is not None


def misses_format(guidance: str, prompt: str, answer: str) -> bool:
    """Whether an answer lacks what the ends of its instructions demand of its format."""
    instructions = f"{guidance[-_INSTRUCTION_CHARS:]}\n{prompt[-_INSTRUCTION_CHARS:]}"
    return any(demand.search(instructions) and not has.search(answer) for demand, has in _DEMANDS)
