"""Guards: differences between two questions that make another answer right, however close they are.

A guard objects or is silent; it never speaks for a candidate. All of them are symmetric.
"""

from collections.abc import Callable

from services.cache_lookup.semantic.grammar import another_actor, another_aspect, another_form
from services.cache_lookup.semantic.guard_rules import (
    another_entity,
    another_focus,
    another_name,
    another_number,
    another_owner,
    another_payload,
    another_quantity,
    another_unit,
    another_word,
    foreign_wording,
    opposite,
    other_parity,
)
from services.cache_lookup.semantic.order import another_order
from services.cache_lookup.semantic.signs import another_sign, another_tense
from services.cache_lookup.semantic.words import Words, words_of

Guard = Callable[[Words, Words], bool]

GUARDS: tuple[tuple[str, Guard], ...] = (
    ("language", foreign_wording),
    ("number", another_number),
    ("unit", another_unit),
    ("quantity", another_quantity),
    ("negation", other_parity),
    ("antonym", opposite),
    ("name", another_name),
    ("entity", another_entity),
    ("owner", another_owner),
    ("focus", another_focus),
    ("tense", another_tense),
    ("actor", another_actor),
    ("form", another_form),
    ("aspect", another_aspect),
    ("order", another_order),
    ("word", another_word),
)
"""Every guard with its name, in the order in which they are asked."""


def objection(asked: str, cached: str) -> str | None:
    """Name of the first guard that forbids to answer one question with the answer to the other."""
    if another_payload(asked, cached):
        return "payload"
    if another_sign(asked, cached):
        return "sign"
    one, other = words_of(asked), words_of(cached)
    return next((name for name, guard in GUARDS if guard(one, other)), None)
