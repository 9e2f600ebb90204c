"""How an alias chooses among its targets, in ``millrace.yaml``."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

import msgspec

from services.shared.domain.configuration_types import Count, Ratio, Section


class Strategy(StrEnum):
    """How a model alias chooses among its targets.

    ``FIXED``: in order. ``WEIGHTED``: by shares. ``TIER``: those that name the caller's tier first.
    ``COMPLEXITY``: the harder the request looks, the stronger. ``CASCADE``: the weakest, and the
    next one if its answer is doubtful. ``CHEAPEST``: by expected cost. ``FASTEST``: by the time to
    the first output. ``LEAST_BUSY``: by the tokens under way.
    """

    FIXED = "fixed"
    WEIGHTED = "weighted"
    TIER = "tier"
    COMPLEXITY = "complexity"
    CASCADE = "cascade"
    CHEAPEST = "cheapest"
    FASTEST = "fastest"
    LEAST_BUSY = "least_busy"


class WhenUnsure(StrEnum):
    """Where a request goes in which the classifier finds nothing to go by."""

    WEAK = "weak"
    MIDDLE = "middle"
    STRONG = "strong"


class CascadeStream(StrEnum):
    """What becomes of a streamed request whose answer is to be judged.

    ``BUFFER``: the answer is held back until it is judged. ``PREFIX``: only its beginning is.
    ``SKIP``: the first target's answer is streamed, and not judged.
    """

    BUFFER = "buffer"
    PREFIX = "prefix"
    SKIP = "skip"


class Complexity(Section, frozen=True, kw_only=True):
    """The strategy ``complexity``.

    Attributes:
        strong_share: Share of the traffic that the strongest target gets.
        usd_per_1000: What 1,000 requests may cost, instead of a share; null = the share counts.
        when_unsure: Where a request goes in which the classifier finds nothing to go by.
        weights: File of weights from ``millrace route fit``; empty = the shipped ones.
    """

    strong_share: Ratio = 0.2
    usd_per_1000: Decimal | None = None
    when_unsure: WhenUnsure = WhenUnsure.MIDDLE
    weights: str = ""


class Cascade(Section, frozen=True, kw_only=True):
    """The strategy ``cascade``.

    Attributes:
        threshold: Least calibrated probability that an answer is good for it to be handed on.
        stream: What becomes of a streamed request.
        prefix_tokens: Tokens that are judged under ``prefix``.
        calibration: File from ``millrace route fit --cascade``; empty = the shipped calibration.
    """

    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.7
    stream: CascadeStream = CascadeStream.BUFFER
    prefix_tokens: Count = 48
    calibration: str = ""
