"""The semantic tier of the cache in ``millrace.yaml``."""

from enum import StrEnum
from typing import Annotated

import msgspec

from services.shared.domain.configuration_types import Count, Section

STRICT_SIMILARITY = 0.95


class SemanticMode(StrEnum):
    """When the answer to another question is served.

    ``GUARDED``: similar enough, and no guard objects. ``STRICT``: likewise, from .95 on.
    ``VERIFIED``: only while the tenant's controller holds the stated bound.
    """

    OFF = "off"
    GUARDED = "guarded"
    STRICT = "strict"
    VERIFIED = "verified"


class Semantic(Section, frozen=True, kw_only=True):
    """The semantic cache.

    Attributes:
        mode: When the answer to another question is served.
        threshold: Least similarity, cosine, or with the verifier its score on the same scale;
            callers may raise it. In the mode ``verified`` the tenant's controller finds it.
        use_verifier: Whether the shipped verifier scores candidates, beside the guards.
        most_wrong: Bound of the verified mode on P(wrong and served), a share of all requests
            that are compared.
        max_entries: Most entries of one scope that are compared; the oldest go first.
    """

    mode: SemanticMode = SemanticMode.OFF
    threshold: Annotated[float, msgspec.Meta(ge=0.8, le=1)] = 0.88
    use_verifier: bool = False
    most_wrong: Annotated[float, msgspec.Meta(gt=0, le=0.1)] = 0.02
    max_entries: Count = 20_000
