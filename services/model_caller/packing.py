"""What fits into one upstream call. Pure."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec


class Load(NamedTuple):
    """What a request, or several, puts into a call: inputs, and their estimated tokens."""

    inputs: int
    tokens: int


class CallLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider takes in one call.

    Attributes:
        inputs: Most inputs.
        tokens: Most input tokens.
    """

    inputs: int = 2_048
    tokens: int = 300_000


def first_fit(loads: Iterable[Load], limits: CallLimits) -> list[list[int]]:
    """Pack loads into calls, each into the first that has room; what is too large goes alone.

    Args:
        loads: The loads, the most urgent first: so the first calls are the urgent ones.
        limits: Of one call.

    Returns:
        For each call the positions of its loads, ascending.
    """
    calls: list[list[int]] = []
    room: list[Load] = []
    for position, load in enumerate(loads):
        for i, left in enumerate(room):
            if load.inputs <= left.inputs and load.tokens <= left.tokens:
                calls[i].append(position)
                room[i] = Load(left.inputs - load.inputs, left.tokens - load.tokens)
                break
        else:
            calls.append([position])
            room.append(Load(limits.inputs - load.inputs, limits.tokens - load.tokens))
    return calls


def first_call(loads: Sequence[Load], limits: CallLimits) -> list[int]:
    """The positions of the loads that the first call takes."""
    return first_fit(loads, limits)[0]
