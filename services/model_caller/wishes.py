"""Calls that somebody wants to make, and those that may not be made now."""

import msgspec

from services.model_caller.shared_inputs import Company

PATIENCE_MS = 1_000.0
"""A call that cannot start within this gives up its place."""


class Shut(msgspec.Struct, frozen=True):
    """A call that may not be made now.

    Attributes:
        on: What stands in the way: ``circuit``, ``rate`` or ``slots``.
        wait_ms: When it may work, ms from now.
    """

    on: str
    wait_ms: float


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A call that somebody wants to make.

    Attributes:
        lane: Its priority, 0 = a user waits.
        tokens: Its tokens: input and wanted output, as far as they can be estimated.
        patience_ms: How long it may wait for each target, at most ``PATIENCE_MS``.
        company: Who may share its call; None = it is made alone.
    """

    lane: int
    tokens: int
    patience_ms: float = PATIENCE_MS
    company: Company | None = None
