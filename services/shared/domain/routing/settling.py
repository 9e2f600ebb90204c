"""What may change a strategy's order: a conversation's prompt cache, and open circuits."""

import msgspec

from services.shared.domain.configuration_routing import Strategy
from services.shared.domain.routing.gates import Candidate
from services.shared.domain.routing.strategies.complexity import from_rank
from services.shared.domain.routing.strategies.expected_cost import cached_tokens, cost_at, dollars
from services.shared.domain.routing.strategies.strategy import Choice, Situation

RANKED = frozenset({Strategy.COMPLEXITY, Strategy.CASCADE})
"""Strategies whose targets stand from the weakest to the strongest."""


def settled(situation: Situation, choice: Choice) -> Choice:
    """The order that is used."""
    return _open_ones_last(situation, _held(situation, choice))


def _held(situation: Situation, choice: Choice) -> Choice:
    """Stay with the target of the conversation while its prompt cache is worth more.

    Where targets are ranked a stronger one may always take over, a weaker one only once the
    provider has forgotten the prompt. Under ``cheapest`` the cache is a part of the cost already.
    """
    strategy = situation.model.strategy
    if not situation.conversation or strategy is Strategy.CHEAPEST:
        return choice
    held = situation.observed.conversation(situation.conversation, situation.now_ms)
    proposed = choice.ordered[0]
    if held is None or held.target == proposed.name:
        return choice
    current = next((each for each in choice.ordered if each.name == held.target), None)
    if current is None:
        return choice
    if strategy in RANKED:
        return _unless_stronger(situation, choice, current)
    if not cached_tokens(situation.request, current, held):
        return choice
    lost = cost_at(situation, proposed) - cost_at(situation, current)
    if lost <= 0:
        return choice
    others = [each for each in choice.ordered if each is not current]
    reason = (
        f"the conversation stays: a change to {proposed.name} ({choice.reason}) "
        f"costs {dollars(lost)} more without its prompt cache"
    )
    return msgspec.structs.replace(choice, ordered=[current, *others], reason=reason)


def _unless_stronger(situation: Situation, choice: Choice, current: Candidate) -> Choice:
    order = {id(candidate): rank for rank, candidate in enumerate(situation.candidates)}
    rank, proposed = order[id(current)], choice.ordered[0]
    if order[id(proposed)] > rank:
        return choice
    ordered = from_rank(situation, rank)
    is_cascade = choice.is_cascade and current is not situation.passed[-1]
    if is_cascade:  # a doubtful answer goes up, never down
        ordered = [each for each in ordered if order[id(each)] >= rank]
    return msgspec.structs.replace(
        choice,
        ordered=ordered,
        reason=f"the conversation stays: {proposed.name} is weaker ({choice.reason})",
        is_cascade=is_cascade,
    )


def _open_ones_last(situation: Situation, choice: Choice) -> Choice:
    observed, now_ms = situation.observed, situation.now_ms
    are_open = [each for each in choice.ordered if observed.is_open(each.name, now_ms)]
    if not are_open or len(are_open) == len(choice.ordered):
        return choice
    others = [each for each in choice.ordered if each not in are_open]
    names = ", ".join(each.name for each in are_open)
    return msgspec.structs.replace(
        choice, ordered=others + are_open, reason=f"{choice.reason}; circuit open: {names}"
    )
