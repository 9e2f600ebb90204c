"""Prompts with answers of a made-up weak model, some of them wrong in ways that weak models are.

Arithmetic is real: a word problem has a true result, and an answer is right when its last number
is that. Faults are drawn at random: a step that is worked out wrongly, a step that is not what the
problem says (which nothing in the answer shows), an answer that is cut off, that doubts itself,
declines, lacks the format, is in another language, runs in a circle, or whose code does not parse.
Signs of doubt and missing formats stand in right answers, too, only less often. The longer the
problem, the more goes wrong. Nothing here is taken from any data set.
"""

import random
from collections.abc import Callable

import msgspec

FORMAT = "Give the final answer after '#### '."


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt, the weak model's answer, and who was right.

    Attributes:
        prompt: The prompt.
        weak_answer: The weak model's answer.
        weak_correct: Whether it is right, 0 or 1.
        strong_correct: Whether the strong model was, 0 or 1.
        finish_reason: Why the weak one ended.
        max_tokens: Cap of its answer; 0 = none.
        logprobs: Log probabilities of its tokens; empty = none.
        family: Which of the made-up kinds it is; empty = none.
    """

    prompt: str
    weak_answer: str
    weak_correct: float
    strong_correct: float
    finish_reason: str = "stop"
    max_tokens: int = 0
    logprobs: tuple[float, ...] = ()
    family: str = ""


class _Draft(msgspec.Struct):
    """An answer under way."""

    prompt: str
    lines: list[str]
    last: str
    is_right: bool
    wants_format: bool = False
    family: str = ""
    difficulty: int = 1


_NAMES = ("Mara", "Jonas", "Priya", "Tomas", "Elif", "Ravi", "Nora", "Kofi", "Lena", "Yuki")
_THINGS = ("apples", "marbles", "tickets", "stamps", "pencils", "shells", "cards", "candles")
_OPENINGS = ("", "", "", "Sure! ", "Let's work it out.\n", "Here is the solution.\n")
_DOUBTS = (
    "I think this is how it works. ",
    "I'm not sure, but ",
    "It is possible that this is meant: ",
    "Perhaps we can say that ",
)
_DECLINES = (
    "I'm sorry, but I cannot determine this from what is given.",
    "I don't have enough information to answer this. I cannot help with it.",
)

_FOREIGN = (
    "Das ist nicht leicht zu sagen, und die Antwort auf die Frage ist mit den Angaben nicht klar.",
    "Ce n'est pas facile pour moi, et la question est dans une langue qui est pour vous.",
    "Das ist nicht die Frage.",  # too short to be certain of
    "Ce n'est pas dans le texte.",
)


def made_up(count: int, *, seed: int, families: tuple[str, ...] = ()) -> list[Row]:
    """So many rows, the same ones for the same seed.

    Args:
        count: How many.
        seed: Of the random numbers.
        families: Kinds to draw from; empty = all.
    """
    rng = random.Random(seed)  # noqa: S311  # no secret: the same rows every time
    makers = {name: _FAMILIES[name] for name in families or tuple(_FAMILIES)}
    names = sorted(makers)
    return [_row(rng, (name := rng.choice(names)), makers[name](rng)) for _ in range(count)]


def _chain(rng: random.Random) -> _Draft:
    """A word problem of several steps, all of one kind of thing."""
    name, thing = rng.choice(_NAMES), rng.choice(_THINGS)
    value = rng.randint(5, 60)
    steps = rng.randint(1, 6)
    told, lines = [f"{name} has {value} {thing}."], []
    is_right = True
    stated = value
    for _ in range(steps):
        text, sign, by = _step(rng, thing, stated)
        told.append(text)
        true_value = _worked(stated, sign, by)
        if rng.random() < 0.035:  # not what the problem says, and nothing shows it
            sign, is_right = ("-" if sign == "+" else "+"), False
        said = _worked(stated, sign, by)
        if rng.random() < 0.03:
            said, is_right = said + rng.choice((-10, -2, -1, 1, 2, 10)), False
        lines.append(f"{stated} {sign} {by} = {said} {thing}.")
        value, stated = true_value, said
    told.append(f"How many {thing} does {name} have now?")
    return _Draft(
        prompt=" ".join(told), lines=lines, last=str(stated), is_right=is_right, difficulty=steps
    )


def _step(rng: random.Random, thing: str, value: int) -> tuple[str, str, int]:
    by = rng.randint(2, 30)
    match rng.choice("+-*"):
        case "+":
            return f"A friend brings {by} {thing} more.", "+", by
        case "*":
            by = rng.randint(2, 4)
            return f"Then the number of {thing} becomes {by} times as large.", "*", by
        case _:
            by = min(by, max(1, value - 1))
            return f"Then {by} {thing} are given away.", "-", by


def _worked(value: int, sign: str, by: int) -> int:
    return value + by if sign == "+" else value - by if sign == "-" else value * by


def _shopping(rng: random.Random) -> _Draft:
    """Prices and amounts, added up."""
    kinds = rng.sample(_THINGS, rng.randint(2, 4))
    lines, total, is_right = [], 0, True
    parts, sums = [], []
    for thing in kinds:
        count, price = rng.randint(2, 15), rng.randint(2, 25)
        parts.append(f"{count} {thing} at ${price} each")
        cost = count * price
        if rng.random() < 0.04:
            cost, is_right = cost + rng.choice((-10, 10, 1, -1)), False
        lines.append(f"The {thing} cost {count} x ${price} = ${cost}.")
        sums.append(cost)
    if rng.random() < 0.06 and len(sums) > 2:  # one is forgotten
        sums, is_right = sums[:-1], False
    total = sum(sums)
    if rng.random() < 0.03:
        total, is_right = total + rng.choice((-100, 10, 2, -1)), False
    lines.append(f"In total: {' + '.join(f'${one}' for one in sums)} = ${total}.")
    name = rng.choice(_NAMES)
    prompt = f"{name} buys {', '.join(parts)}. How much does {name} pay in total?"
    return _Draft(
        prompt=prompt, lines=lines, last=f"${total}", is_right=is_right, difficulty=len(kinds)
    )


def _code(rng: random.Random) -> _Draft:
    """A small function; wrong ones compute something else, or do not parse."""
    name, operation = rng.choice(
        (("add_all", "sum(values)"), ("largest", "max(values)"), ("count", "len(values)"))
    )
    body = operation
    is_right = True
    kind = rng.random()
    if kind < 0.12:
        body, is_right = operation.replace(")", ""), False
    elif kind < 0.26:
        body, is_right = f"{operation} + 1", False
    lines = [
        "```python",
        f"def {name}(values):",
        f'    """Return {name.replace("_", " ")} of the values."""',
        f"    return {body}",
        "```",
    ]
    prompt = f"Write a Python function `{name}(values)` that returns {operation.split('(')[0]}."
    return _Draft(prompt=prompt, lines=lines, last="", is_right=is_right)


def _choice(rng: random.Random) -> _Draft:
    """A question with four answers, one of which is right."""
    a, b = rng.randint(3, 30), rng.randint(3, 30)
    options = [a * b, a * b + 10, a * b - b, a + b]
    rng.shuffle(options)
    right = "ABCD"[options.index(a * b)]
    is_right = rng.random() < 0.74
    picked = right if is_right else rng.choice([it for it in "ABCD" if it != right])
    listed = "\n".join(f"{letter}. {it}" for letter, it in zip("ABCD", options, strict=True))
    said = options["ABCD".index(picked)]
    lines = [f"We work out {a} * {b} = {said}."] if rng.random() < 0.6 else []
    prompt = f"What is {a} times {b}?\n{listed}\nAnswer:"
    return _Draft(prompt=prompt, lines=lines, last=picked, is_right=is_right)


def _explain(rng: random.Random) -> _Draft:
    """A question for words; whether they are right hardly shows."""
    topic = rng.choice(("tides", "rainbows", "yeast", "glaciers", "magnets", "enzymes", "soap"))
    verb = rng.choice(("rise", "split", "feed", "melt", "pull", "bind", "move"))
    count = rng.randint(2, 7)
    facts = ("water", "light", "heat", "the moon", "sugar", "pressure", "time", "salt", "air")
    lines = [
        f"{topic.capitalize()} {verb} because {rng.choice(facts)} acts on {rng.choice(facts)} "
        f"over {rng.choice(facts)}."
        for _ in range(count)
    ]
    prompt = f"Explain to a child why {topic} {verb}, in a few plain sentences."
    return _Draft(prompt=prompt, lines=lines, last="", is_right=rng.random() < 0.78)


_FAMILIES: dict[str, Callable[[random.Random], _Draft]] = {
    "chain": _chain,
    "shopping": _shopping,
    "code": _code,
    "choice": _choice,
    "explain": _explain,
}


def _row(rng: random.Random, family: str, draft: _Draft) -> Row:
    draft.family = family
    is_math = family in {"chain", "shopping"}
    draft.wants_format = is_math and rng.random() < 0.5
    text, finish_reason = _written(rng, draft, is_math=is_math)
    strong = rng.random() < 0.97 - 0.02 * draft.difficulty
    prompt = f"{draft.prompt} {FORMAT}" if draft.wants_format else draft.prompt
    logprobs: tuple[float, ...] = ()
    if rng.random() < 0.4:
        worst = -rng.expovariate(0.5 if draft.is_right else 0.28)
        logprobs = tuple(worst * rng.random() ** 3 for _ in range(40))
    return Row(
        prompt=prompt,
        weak_answer=text,
        weak_correct=float(draft.is_right),
        strong_correct=float(strong),
        finish_reason=finish_reason,
        logprobs=logprobs,
        family=family,
    )


def _written(rng: random.Random, draft: _Draft, *, is_math: bool) -> tuple[str, str]:
    """The answer's text and why it ended, with what goes wrong beside the reasoning."""
    lines = list(draft.lines)
    if lines and (broken := _broken_off(rng, lines)) is not None:
        draft.is_right = False
        return broken
    opening = rng.choice(_OPENINGS)
    if rng.random() < (0.03 if draft.is_right else 0.16):
        opening = rng.choice(_DOUBTS)
    if is_math:
        drops_format = rng.random() < (0.05 if draft.is_right else 0.2)
        if draft.wants_format and not drops_format:
            lines.append(f"#### {draft.last}")
        elif rng.random() < 0.7:
            lines.append(f"The answer is {draft.last}.")
    elif draft.last:
        lines.append(f"The correct answer is {draft.last}.")
    return opening + "\n".join(lines), "stop"


def _broken_off(rng: random.Random, lines: list[str]) -> tuple[str, str] | None:
    """What stands in place of an answer that never gets to its end; None = it does."""
    whole = "\n".join(lines)
    match rng.choices(("declines", "cut", "circle", "foreign", "none"), (3, 3, 1, 2, 91))[0]:
        case "declines":
            return rng.choice(_DECLINES), "stop"
        case "cut":
            return whole[: max(10, len(whole) * 2 // 3)], rng.choice(("length", "stop"))
        case "circle":
            return "\n".join([*lines, *[lines[-1]] * 80]), "stop"
        case "foreign":
            return rng.choice(_FOREIGN), "stop"
        case _:
            return None
