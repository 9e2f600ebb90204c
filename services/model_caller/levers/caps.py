"""How long an answer may be: what the caller, the alias and the feature say, together. Pure."""

import msgspec

from services.shared.domain.configuration_output import FeatureOutput

_NONE = FeatureOutput()


class Cap(msgspec.Struct, frozen=True):
    """A cap that the caller did not ask for.

    Attributes:
        max_tokens: Most tokens of the answer.
        by: ``default``, as he named none, or ``cap``, as he named none or more.
    """

    max_tokens: int
    by: str


def cap_of(wanted: int, alias: FeatureOutput, feature: FeatureOutput = _NONE) -> Cap | None:
    """The cap that takes the place of the caller's; None = his stays, or there is none.

    Never more than the caller asks for. A feature's default goes before the alias's; of two
    largest caps the smaller holds.

    Args:
        wanted: The caller's cap, tokens; 0 = none.
        alias: What the alias says.
        feature: What the feature says.
    """
    usual = wanted or feature.default_max_tokens or alias.default_max_tokens
    limits = [limit for limit in (alias.max_tokens, feature.max_tokens) if limit]
    if limits and not 0 < usual <= min(limits):
        return Cap(min(limits), "cap")
    return Cap(usual, "default") if usual != wanted else None
