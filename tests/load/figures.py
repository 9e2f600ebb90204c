"""Figures, and what they are held against."""

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How a figure stands."""

    TARGET = "target met"
    FLOOR = "floor met"
    MISSED = "missed"
    NONE = ""


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """What a figure should be.

    Attributes:
        floor: What must be reached; null = nothing must.
        target: What the design aims at.
        is_most: True = the figure may be no more than these; False = no less.
    """

    floor: float | None
    target: float
    is_most: bool

    def verdict(self, value: float) -> Verdict:
        """Hold a figure against both."""
        if self._reaches(value, self.target):
            return Verdict.TARGET
        if self.floor is not None and self._reaches(value, self.floor):
            return Verdict.FLOOR
        return Verdict.MISSED

    def _reaches(self, value: float, bound: float) -> bool:
        return value <= bound if self.is_most else value >= bound


def at_least(target: float, *, floor: float | None = None) -> Limit:
    """More is better."""
    return Limit(floor=floor, target=target, is_most=False)


def at_most(target: float, *, floor: float | None = None) -> Limit:
    """Less is better."""
    return Limit(floor=floor, target=target, is_most=True)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measured number.

    Attributes:
        scenario: What was run.
        name: What it says, with its unit.
        value: Through Millrace.
        direct: The same straight from the simulator; null = there is no such thing.
        limit: What it should be; null = it is only told.
    """

    scenario: str
    name: str
    value: float
    direct: float | None = None
    limit: Limit | None = None

    @property
    def verdict(self) -> Verdict:
        """How it stands."""
        return Verdict.NONE if self.limit is None else self.limit.verdict(self.value)
