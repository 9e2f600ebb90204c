"""What is measured of the verified mode, tenant by tenant."""

from collections.abc import Callable, Iterator
from itertools import islice

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from services.cache_lookup.verified.controller import NOTHING, Controller
from services.cache_lookup.verified.gatekeeper import Controllers

MOST_LABELS = 50
"""Tenants that have figures of their own: those that were heard of last."""

_MEANINGS: tuple[tuple[str, str, Callable[[Controller], float]], ...] = (
    ("requests", "Compared requests that the evidence stands for.", lambda it: it.requests),
    ("hits", "Served hits that the re-asks stand for.", lambda it: it.hits),
    ("asked_again", "Served hits that were asked again.", lambda it: it.asked_again),
    ("found_wrong", "Served hits that turned out wrong.", lambda it: it.found_wrong),
    ("vetoed_entries", "Entries that are served for closer questions only.", lambda it: it.vetoed),
    (
        "threshold",
        "Score from which on answers are served; 2 = none is.",
        lambda it: 2.0 if it.threshold == NOTHING else it.threshold,
    ),
    (
        "upper_bound_ratio",
        "P(wrong and served), 95 % upper bound at the threshold of now; 0 = nothing is served.",
        lambda it: it.upper_bound,
    ),
)


class VerifiedMetrics(Collector):
    """Figures of the controllers, made when they are asked for."""

    def __init__(self, registry: CollectorRegistry, controllers: Controllers) -> None:
        """Register."""
        self._controllers = controllers
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Make them."""
        tenants = list(islice(self._controllers.tenants(), MOST_LABELS))
        for name, meaning, value in _MEANINGS:
            family = GaugeMetricFamily(
                f"millrace_cache_verified_{name}", meaning, labels=("tenant",)
            )
            for tenant, controller in tenants:
                family.add_metric((tenant,), value(controller))
            yield family
