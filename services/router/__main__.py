"""Wires the router."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.router.processor import CONSUMES, RouterMetrics, RouterProcessor
from services.router.settings import RouterSettings
from services.shared.adapters.complexity_weights import classifiers_of
from services.shared.adapters.environment import (
    configuration_from_environment,
    process_environment,
    settings_from_environment,
)
from services.shared.adapters.genai_prices_model_catalog import GenaiPricesModelCatalog
from services.shared.adapters.system_clock import SystemClock
from services.shared.domain.configuration_routing import Strategy
from services.shared.domain.events import CacheMissed
from services.shared.domain.routing.observed import PROMPT_CACHE_IDLE_MS, Observed
from services.shared.domain.routing.routing_table import RoutingTable
from services.shared.stream.loop import Process
from services.shared.stream.observing import observing
from services.shared.stream.service import run_stage
from services.shared.stream.shapes import each
from services.shared.stream.stage import Stage, Tools

SERVICE = "router"
_LOG = logging.getLogger("services.router")  # not __name__, which is "__main__" here


@asynccontextmanager
async def _build(tools: Tools) -> AsyncIterator[Process[CacheMissed]]:
    configuration = configuration_from_environment(process_environment())
    table = RoutingTable(
        configuration,
        GenaiPricesModelCatalog(configuration.providers).facts,
        classifiers=classifiers_of(configuration)
        if any(m.strategy is Strategy.COMPLEXITY for m in configuration.models.values())
        else {},
    )
    # Asking for all prices at once also loads the price table before the first request.
    for target in table.unpriced(at_ms=int(tools.clock.now_ms())):
        _LOG.warning("refused, since its price is not known: models.%s", target)
    _LOG.info("routing", extra={"config_version": table.version})
    async with routing(tools, table) as process:
        yield process


@asynccontextmanager
async def routing(tools: Tools, table: RoutingTable) -> AsyncIterator[Process[CacheMissed]]:
    """Route by a table, while the block runs.

    Args:
        tools: The runtime's.
        table: What it says decides whether results and circuits are followed.
    """
    metrics = RouterMetrics(tools.registry)
    if not table.observes:
        yield each(RouterProcessor(table, metrics=metrics).process, clock=tools.clock)
        return
    observed = Observed(table.reference)
    processor = RouterProcessor(table, metrics=metrics, observed=observed)
    async with observing(
        tools,
        since_ms=tools.clock.now_ms() - PROMPT_CACHE_IDLE_MS,
        take_result=observed.take_result,
        take_health=observed.take_health,
    ):
        yield each(processor.process, clock=tools.clock)


def main() -> None:
    """Run the service."""
    settings = settings_from_environment(RouterSettings, process_environment())
    run_stage(Stage(service=SERVICE, topics=CONSUMES, build=_build), settings, clock=SystemClock())


if __name__ == "__main__":
    main()
