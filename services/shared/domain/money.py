"""Money: integer nano-USD on the wire, ``Decimal`` in code, never float.

1 USD = 1,000,000,000 nano-USD, so the cheapest token in use (0.01 USD a million tokens) still
costs 10 of them.
"""

from decimal import ROUND_HALF_UP, Decimal

import msgspec

NANOUSD_PER_USD = 1_000_000_000
TOKENS_PER_MTOK = 1_000_000


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one model call.

    Attributes:
        input_tokens: All input tokens, cached ones included.
        output_tokens: All output tokens, reasoning included.
        cached_input_tokens: Input tokens the provider served from its own prompt cache.
        reasoning_output_tokens: Output tokens spent on hidden reasoning.
        is_estimated: True where the provider reported none and we counted.
        cache_write_input_tokens: Input tokens the provider wrote to its own prompt cache.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_output_tokens: int = 0
    is_estimated: bool = False
    cache_write_input_tokens: int = 0


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """What a model costs, and which table says so.

    Attributes:
        input_nanousd_per_mtok: Nano-USD for a million input tokens.
        cached_input_nanousd_per_mtok: Nano-USD for a million input tokens from the prompt cache.
        output_nanousd_per_mtok: Nano-USD for a million output tokens.
        version: Name and date of the price table.
        cache_write_nanousd_per_mtok: Nano-USD for a million input tokens that are written to the
            prompt cache; 0 = as input.
    """

    input_nanousd_per_mtok: int = 0
    cached_input_nanousd_per_mtok: int = 0
    output_nanousd_per_mtok: int = 0
    version: str = ""
    cache_write_nanousd_per_mtok: int = 0


def cost_nanousd(usage: Usage, price: Price) -> int:
    """Cost of a call in nano-USD; half a nano-USD is rounded up."""
    cached = min(usage.cached_input_tokens, usage.input_tokens)
    written = min(usage.cache_write_input_tokens, usage.input_tokens - cached)
    exact = (
        (usage.input_tokens - cached - written) * price.input_nanousd_per_mtok
        + cached * price.cached_input_nanousd_per_mtok
        + written * (price.cache_write_nanousd_per_mtok or price.input_nanousd_per_mtok)
        + usage.output_tokens * price.output_nanousd_per_mtok
    )
    return (exact + TOKENS_PER_MTOK // 2) // TOKENS_PER_MTOK


def saved_by_prompt_cache_nanousd(usage: Usage, price: Price) -> int:
    """What the provider's prompt cache saved, nano-USD: its reads, at the difference of prices.

    What writing to it cost more is in the cost.
    """
    cached = min(usage.cached_input_tokens, usage.input_tokens)
    exact = cached * (price.input_nanousd_per_mtok - price.cached_input_nanousd_per_mtok)
    return max(0, (exact + TOKENS_PER_MTOK // 2) // TOKENS_PER_MTOK)


def nanousd_from_usd(usd: Decimal) -> int:
    """Convert dollars to nano-USD; half a nano-USD is rounded up."""
    return int((usd * NANOUSD_PER_USD).to_integral_value(rounding=ROUND_HALF_UP))


def usd_from_nanousd(nanousd: int) -> Decimal:
    """Convert nano-USD to dollars, exactly."""
    return Decimal(nanousd) / NANOUSD_PER_USD
