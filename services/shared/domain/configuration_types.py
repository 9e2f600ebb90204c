"""What the sections of ``millrace.yaml`` are made of."""

from typing import Annotated

import msgspec

MAX_WINDOW_MS = 10
MAX_DEADLINE_S = 86_400

Count = Annotated[int, msgspec.Meta(ge=1)]
CountOrZero = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=MAX_DEADLINE_S)]
Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]
WindowMs = Annotated[float, msgspec.Meta(ge=0, le=MAX_WINDOW_MS)]
WindowCount = Annotated[int, msgspec.Meta(ge=1, le=2048)]
Priority = Annotated[int, msgspec.Meta(ge=0, le=2)]


class Section(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Root of everything that can stand in the file; written out, it leaves out its defaults."""
