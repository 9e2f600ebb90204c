"""Router: ``cache-misses`` in; ``routed-requests``, or the end of a refused request, out."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter

from services.shared.domain.emit import Emit
from services.shared.domain.events import CacheMissed, RequestRouted
from services.shared.domain.routing.decide import (
    NOTHING_SEEN,
    Refused,
    Routed,
    Seen,
    remember,
    route_request,
)
from services.shared.domain.routing.observed import Observed
from services.shared.domain.routing.routing_table import RoutingTable
from services.shared.domain.terminal import emits_for_failure, journey_of
from services.shared.domain.topics import Topic

CONSUMES = (Topic.CACHE_MISSES,)
READS = (Topic.INFERENCE_RESULTS, Topic.PROVIDER_HEALTH)
EMITS = (Topic.ROUTED_REQUESTS, Topic.INFERENCE_RESULTS, Topic.RESULT_CHUNKS)


class RouterMetrics:
    """What the router decided."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self._decisions = Counter(
            "millrace_routing_decisions",
            "Requests by strategy and result: routed, or the code of the refusal.",
            ("strategy", "result"),
            registry=registry,
        )

    def routed(self, strategy: str) -> None:
        """A request was routed."""
        self._decisions.labels(strategy, "routed").inc()

    def refused(self, code: str) -> None:
        """A request was refused."""
        self._decisions.labels("", code).inc()


class RouterProcessor:
    """One ``CacheMissed`` in; one ``RequestRouted`` or the end of the request out."""

    def __init__(
        self, table: RoutingTable, *, metrics: RouterMetrics, observed: Observed | None = None
    ) -> None:
        """Make a router of one configuration.

        Args:
            table: The configuration.
            metrics: Where decisions are counted.
            observed: What is seen of targets, kept up to date by somebody; None = nobody does, as
                no strategy looks at it.
        """
        self._table = table
        self._metrics = metrics
        self._observed = observed

    def process(self, missed: CacheMissed, now_ms: float) -> Iterator[Emit]:
        """Route one request.

        Args:
            missed: The request, and what the cache found.
            now_ms: Unix ms; stamps a refusal, and is the time of what was observed.
        """
        request, observed = missed.request, self._observed
        decision = route_request(
            request,
            caller=self._table.caller(request.key_id),
            alias=self._table.alias(request.model, at_ms=request.accepted_at),
            config_version=self._table.version,
            seen=NOTHING_SEEN if observed is None else Seen(observed=observed, now_ms=now_ms),
        )
        match decision:
            case Routed(route=route, lane=lane):
                if observed is not None:
                    remember(observed, request, decision, now_ms=now_ms)
                self._metrics.routed(route.strategy)
                routed = RequestRouted(
                    request=request,
                    cache=missed.cache,
                    route=route,
                    lane=lane,
                    hops=missed.hops,
                )
                yield Emit(
                    topic=Topic.ROUTED_REQUESTS,
                    key=request.request_id,
                    event=routed,
                    request=request,
                )
            case Refused(error=error):
                self._metrics.refused(error.code)
                yield from emits_for_failure(
                    request, error, now_ms=now_ms, journey=journey_of(missed)
                )
