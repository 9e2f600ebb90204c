"""What a check of the machine or the stack finds."""

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How bad a finding is."""

    GOOD = "ok"
    NOTE = "note"
    BAD = "bad"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found.

    Attributes:
        level: ``note`` = the stack runs all the same; ``bad`` = it does not, or not well.
        subject: What was checked.
        text: What was found.
        remedy: What to do; empty = nothing.
    """

    level: Level
    subject: str
    text: str
    remedy: str = ""
