"""Money: integer nano-USD, rounded once and never lost."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.domain.money import (
    NANOUSD_PER_USD,
    Price,
    Usage,
    cost_nanousd,
    nanousd_from_usd,
    saved_by_prompt_cache_nanousd,
    usd_from_nanousd,
)

PRICE = Price(
    input_nanousd_per_mtok=2_500_000_000,
    cached_input_nanousd_per_mtok=1_250_000_000,
    output_nanousd_per_mtok=10_000_000_000,
)
COUNTS = st.integers(0, 10**9)
PRICES = st.integers(0, 10**12)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param(Usage(), 0, id="nothing"),
        pytest.param(Usage(input_tokens=1_000_000), 2_500_000_000, id="input"),
        pytest.param(Usage(output_tokens=1), 10_000, id="one-output-token"),
        pytest.param(
            Usage(input_tokens=1_000, cached_input_tokens=400, output_tokens=10),
            600 * 2_500 + 400 * 1_250 + 10 * 10_000,
            id="cached-input-is-part-of-input",
        ),
        pytest.param(
            Usage(input_tokens=10, cached_input_tokens=50), 10 * 1_250, id="more-cached-than-input"
        ),
        pytest.param(
            Usage(output_tokens=5, reasoning_output_tokens=5), 50_000, id="reasoning-is-output"
        ),
    ],
)
def test_a_call_costs_what_its_tokens_cost(usage: Usage, expected: int) -> None:
    """Each kind of token has its price; none is paid twice."""
    assert cost_nanousd(usage, PRICE) == expected


@pytest.mark.parametrize(
    ("nanousd_per_mtok", "expected"), [(499_999, 0), (500_000, 1), (1_499_999, 1), (1_500_000, 2)]
)
def test_half_a_nanousd_is_rounded_up(nanousd_per_mtok: int, expected: int) -> None:
    """Rounding happens once, on the sum."""
    price = Price(output_nanousd_per_mtok=nanousd_per_mtok)
    assert cost_nanousd(Usage(output_tokens=1), price) == expected


@given(COUNTS, COUNTS, COUNTS, PRICES, PRICES, PRICES)
def test_costs_agree_with_exact_arithmetic(  # noqa: PLR0917 -- drawn by Hypothesis
    tokens: int, cached: int, output: int, price: int, cached_price: int, output_price: int
) -> None:
    """The cost is never further than half a nano-USD from the exact one."""
    usage = Usage(input_tokens=tokens, cached_input_tokens=cached, output_tokens=output)
    paid = Price(
        input_nanousd_per_mtok=price,
        cached_input_nanousd_per_mtok=cached_price,
        output_nanousd_per_mtok=output_price,
    )
    counted = min(cached, tokens)
    exact_micro = (tokens - counted) * price + counted * cached_price + output * output_price
    assert abs(cost_nanousd(usage, paid) * 1_000_000 - exact_micro) <= 500_000


@given(st.integers(-(10**18), 10**18))
def test_nanousd_and_dollars_convert_without_loss(nanousd: int) -> None:
    """What the ledger holds is what a report shows."""
    assert nanousd_from_usd(usd_from_nanousd(nanousd)) == nanousd


@pytest.mark.parametrize(
    ("usd", "expected"),
    [("1", NANOUSD_PER_USD), ("0.000000001", 1), ("0.0000000005", 1), ("0.0000000004", 0)],
)
def test_dollars_become_nanousd(usd: str, expected: int) -> None:
    """Half a nano-USD is rounded up."""
    assert nanousd_from_usd(Decimal(usd)) == expected


def test_writes_to_the_prompt_cache_cost_as_input_where_nobody_says_otherwise() -> None:
    """Records of older prices name none; no price makes tokens free."""
    usage = Usage(input_tokens=100, cached_input_tokens=60, cache_write_input_tokens=90)
    price = Price(input_nanousd_per_mtok=1_000_000, cached_input_nanousd_per_mtok=100_000)
    assert cost_nanousd(usage, price) == 40 + 6
    dearer = msgspec.structs.replace(price, cache_write_nanousd_per_mtok=2_000_000)
    assert cost_nanousd(usage, dearer) == 80 + 6
    assert saved_by_prompt_cache_nanousd(usage, price) == 54
    odd = msgspec.structs.replace(price, cached_input_nanousd_per_mtok=3_000_000)
    assert saved_by_prompt_cache_nanousd(usage, odd) == 0
