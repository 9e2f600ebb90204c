"""Prices by the size of a request."""

import pytest

from services.shared.domain.model_facts import ModelFacts, PriceStep
from services.shared.domain.money import Price

LOW, MIDDLE, HIGH = (Price(input_nanousd_per_mtok=amount) for amount in (1, 2, 3))
STEPS = (
    PriceStep(above_input_tokens=200, price=HIGH),
    PriceStep(above_input_tokens=100, price=MIDDLE),
    PriceStep(price=LOW),
)


@pytest.mark.parametrize(
    ("tokens", "price"), [(0, LOW), (100, LOW), (101, MIDDLE), (200, MIDDLE), (201, HIGH)]
)
def test_the_step_that_a_request_exceeds_gives_the_price(tokens: int, price: Price) -> None:
    """At the size itself the lower price still holds."""
    assert ModelFacts(prices=STEPS).price_for(tokens) == price


def test_a_model_of_unknown_price_has_none() -> None:
    """Not known is not zero."""
    assert ModelFacts().price_for(0) is None
