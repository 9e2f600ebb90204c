"""Prompts as applications send them: system prompts, several turns, code, mail, other languages.

Everything follows from the seed. The length of the text is lognormal around a kilobyte.
"""

import random
from collections.abc import Iterator

from tests.load.plan import Operation

TAG = "0123456789abcdef"
"""Stands in every prompt where each request has something of its own."""

_MEDIAN_BYTES = {Operation.CHAT: 1000.0, Operation.EMBEDDINGS: 400.0}
_SPREAD = 0.8
_SHORTEST_BYTES = 60
_LONGEST_BYTES = 24_000
_SYSTEM_SHARE = 0.7
_ONE_MORE_TURN = 0.45
_MOST_TURNS = 6

_SYSTEM = (
    "You are the assistant of a company that sells measuring instruments. Answer in the customer's "
    "language, name the part number when you know it, and say so when you do not know something.",
    "You review Python code. Point out errors first, then risks, then style. Be brief and quote "
    "the line that you speak of.",
    "You extract facts from contracts for the legal department. Answer with the clause and its "
    "wording; never interpret.",
    "You help nurses to write handover notes. Use plain words, keep the order of events, and leave "
    "out names.",
    "You are a travel planner. Prefer trains to planes, give times in local time, and ask one "
    "question back when the request is open.",
    "You turn meeting transcripts into minutes: decisions, open questions, who does what until "
    "when.",
)
_ASK = (
    "Summarise the text below in five sentences for somebody who was not there.",
    "Which of these points need an answer today, and why?",
    "Write a friendly reply that explains what happened and what we do next.",
    "List every number in the text with its unit and what it means.",
    "Is there a contradiction in this? Quote both places.",
    "Explain this to a new colleague, with one example.",
    "What would you change, and in which order?",
    "Translate the text into simple English and keep the technical terms.",
    "Find the most likely cause and propose a test that would prove it wrong.",
)
_REPLY = (
    "Here is a first version. Tell me where it is too long.",
    "The second and the fourth point are urgent; the others can wait for a week.",
    "I see two causes. The more likely one is the change of the day before.",
    "That depends on the contract; clause 7 says thirty days, the annex says fourteen.",
    "Done. I left the table as it was, because its numbers are referred to elsewhere.",
)
_WHO = (
    "the customer in Lyon", "our warehouse", "the night shift", "a supplier from Gdańsk",
    "the second team", "the auditor", "Mrs Oyelaran", "the maintainer", "the clinic", "support",
)  # fmt: skip
_DID = (
    "reported", "measured", "asked about", "returned", "replaced", "forgot to mention", "confirmed",
    "could not reproduce", "wrote down", "compared",
)  # fmt: skip
_WHAT = (
    "a reading of {n} mV at {n} °C", "order {n} with {n} parts missing", "an invoice of {n} €",
    "{n} retries in {n} minutes", "a crack of {n} mm near the flange", "version {n} of the form",
    "the delay of {n} ms between both clocks", "a queue of {n} messages", "ticket {n}",
    "the temperature curve of line {n}",
)  # fmt: skip
_WHEN = (
    "on Monday", "after the update", "shortly before midnight", "during the handover", "twice",
    "in the third week", "while the pump was off", "without being asked", "since March", "again",
)  # fmt: skip
_CODE = (
    "def rolling_mean(values, width):\n    window = deque(maxlen=width)\n    for value in values:\n"
    "        window.append(value)\n        yield sum(window) / len(window)\n",
    "SELECT region, count(*) AS orders\nFROM orders\nWHERE shipped_at IS NULL\nGROUP BY region;\n",
    '{"sensor": "t-14", "unit": "°C", "samples": [21.4, 21.6, null, 22.0]}\n',
)
_OTHER = (
    "Die Lieferung kam zwei Tage später an, und die Prüfnummer fehlte auf dem Schein. ",
    "Le client souhaite un avoir, mais la facture n'est pas encore réglée. ",
    "测量值超出了允许范围, 请检查传感器的接线。",
    "El informe no menciona la temperatura máxima; ¿pueden enviarla hoy? ",
)


def prompts(
    operation: Operation, model: str, *, stream: bool, seed: int, count: int
) -> list[dict[str, object]]:
    """Request bodies with ``TAG`` in each.

    Args:
        operation: What is asked for.
        model: Whom.
        stream: Whether answers are to be streamed, with usage.
        seed: The same seed gives the same bodies.
        count: How many.
    """
    dice = random.Random(seed)
    make = _chat if operation is Operation.CHAT else _embedding
    bodies = [make(dice, model) for _ in range(count)]
    if stream:
        for body in bodies:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
    return bodies


def question(text: str, model: str) -> dict[str, object]:
    """The request body of a short question; all but its text is the same for all of a model."""
    messages = [{"role": "system", "content": _SYSTEM[0]}, {"role": "user", "content": text}]
    return {"messages": messages, "model": model, "temperature": 0}


def _chat(dice: random.Random, model: str) -> dict[str, object]:
    messages = list(_conversation(dice, left=_length_bytes(dice, Operation.CHAT)))
    body: dict[str, object] = {"messages": messages, "model": model}
    if dice.random() < 0.5:
        body["temperature"] = dice.choice((0, 0.2, 0.7))
    if dice.random() < 0.3:
        body["max_tokens"] = dice.choice((1024, 2048, 4096))
    if dice.random() < 0.2:
        body["user"] = f"user-{dice.randrange(1000)}"
    return body


def _embedding(dice: random.Random, model: str) -> dict[str, object]:
    text = _text(dice, _length_bytes(dice, Operation.EMBEDDINGS))
    return {"input": f"{TAG}: {text}", "model": model, "encoding_format": "base64"}


def _conversation(dice: random.Random, *, left: int) -> Iterator[dict[str, str]]:
    """Messages of about this many bytes together."""
    if dice.random() < _SYSTEM_SHARE:
        system = dice.choice(_SYSTEM)
        left -= len(system)
        yield {"role": "system", "content": system}
    turns = 1
    while turns < _MOST_TURNS and dice.random() < _ONE_MORE_TURN:
        turns += 1
    share = max(_SHORTEST_BYTES, left // turns)
    for _ in range(turns - 1):
        question = f"{dice.choice(_ASK)}\n\n{_text(dice, share * 2 // 3)}"
        yield {"role": "user", "content": question}
        answer = f"{dice.choice(_REPLY)} {_text(dice, share // 3)}"
        yield {"role": "assistant", "content": answer}
    last = f"{dice.choice(_ASK)}\n\nCase {TAG}: {_text(dice, share)}"
    yield {"role": "user", "content": last}


def _length_bytes(dice: random.Random, operation: Operation) -> int:
    drawn = _MEDIAN_BYTES[operation] * dice.lognormvariate(0.0, _SPREAD)
    return int(min(max(drawn, _SHORTEST_BYTES), _LONGEST_BYTES))


def _text(dice: random.Random, length_bytes: int) -> str:
    """Sentences, some code, some of another language, of about this many bytes."""
    pieces = []
    while length_bytes > 0:
        piece = _piece(dice)
        pieces.append(piece)
        length_bytes -= len(piece.encode())
    return "".join(pieces).rstrip()


def _piece(dice: random.Random) -> str:
    kind = dice.random()
    if kind < 0.03:
        return f"\n```\n{dice.choice(_CODE)}```\n"
    if kind < 0.1:
        return dice.choice(_OTHER)
    what = dice.choice(_WHAT)
    while "{n}" in what:
        what = what.replace("{n}", str(dice.randrange(1, 9000)), 1)
    sentence = f"{dice.choice(_WHO)} {dice.choice(_DID)} {what} {dice.choice(_WHEN)}. "
    return sentence[0].upper() + sentence[1:]
