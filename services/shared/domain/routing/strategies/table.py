"""All strategies."""

from services.shared.domain.configuration_routing import Strategy
from services.shared.domain.routing.strategies.cascade import weakest_first
from services.shared.domain.routing.strategies.cheapest import by_cost
from services.shared.domain.routing.strategies.complexity import by_complexity
from services.shared.domain.routing.strategies.fastest import by_time
from services.shared.domain.routing.strategies.least_busy import by_tokens_under_way
from services.shared.domain.routing.strategies.strategy import Ordering
from services.shared.domain.routing.strategies.unobserved import as_listed, by_tier, by_weight

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
