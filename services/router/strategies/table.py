"""All strategies."""

from services.router.strategies.cascade import weakest_first
from services.router.strategies.cheapest import by_cost
from services.router.strategies.complexity import by_complexity
from services.router.strategies.fastest import by_time
from services.router.strategies.least_busy import by_tokens_under_way
from services.router.strategies.strategy import Ordering
from services.router.strategies.unobserved import as_listed, by_tier, by_weight
from services.shared.domain.configuration_routing import Strategy

ORDERINGS: dict[Strategy, Ordering] = {
    Strategy.FIXED: as_listed,
    Strategy.TIER: by_tier,
    Strategy.WEIGHTED: by_weight,
    Strategy.COMPLEXITY: by_complexity,
    Strategy.CASCADE: weakest_first,
    Strategy.CHEAPEST: by_cost,
    Strategy.FASTEST: by_time,
    Strategy.LEAST_BUSY: by_tokens_under_way,
}
"""The ordering of each strategy."""

OBSERVING = frozenset(
    {
        Strategy.COMPLEXITY,
        Strategy.CASCADE,
        Strategy.CHEAPEST,
        Strategy.FASTEST,
        Strategy.LEAST_BUSY,
    }
)
"""Strategies that look at more than the request and the configuration."""
