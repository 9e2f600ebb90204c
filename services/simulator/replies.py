"""Rendered answers: bytes, when they are due, and how the connection ends."""

from collections.abc import Iterable
from enum import Enum

import msgspec

Frame = tuple[float, bytes]
"""When (ms after the call got its server) and what; frames are in the order of sending."""

Headers = list[tuple[bytes, bytes]]


class Ending(Enum):
    """What follows the last frame."""

    COMPLETE = "complete"
    EOF = "eof"
    RESET = "reset"
    HANG = "hang"


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP answer.

    Attributes:
        headers: Without length and request id.
        frames: The body.
        body_bytes: Announced length; None = sent in HTTP chunks.
        starts_ms: When the status line is due, ms after the call got its server.
        ending: What follows the last frame.
        status: HTTP status.
    """

    headers: Headers
    frames: Iterable[Frame]
    body_bytes: int | None
    starts_ms: float = 0.0
    ending: Ending = Ending.COMPLETE
    status: int = 200
