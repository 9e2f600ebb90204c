"""Windows over routed requests: opened, filled, closed, sent as batches."""

from collections.abc import Callable, Sequence

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram

from services.batcher.decide import (
    LaneGain,
    Window,
    WindowKey,
    by_deadline,
    closed_by_time,
    fits,
    full_by,
    joined,
    lane_of,
    learned,
    opened,
    should_wait,
)
from services.shared.domain.configuration import BatchWindow, Configuration
from services.shared.domain.configuration_output import Output
from services.shared.domain.emit import Emit
from services.shared.domain.events import Operation, RequestBatch, RequestRouted
from services.shared.domain.name_patterns import NamePatterns
from services.shared.domain.topics import BATCH_TOPICS, Topic
from services.shared.ports.work import OpenRecord

CONSUMES = (Topic.ROUTED_REQUESTS,)
EMITS = BATCH_TOPICS
_MAX_LANES = 4096
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

Routed = OpenRecord[RequestRouted]
Closed = tuple[Sequence[Routed], Emit]


class BatchMetrics:
    """What is measured of windows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self._closed = Counter(
            "millrace_batches", "Batches by why their window closed.", ("by",), registry=registry
        )
        self._members = Histogram(
            "millrace_batch_members",
            "Requests in a batch.",
            ("operation",),
            buckets=_SIZES,
            registry=registry,
        )

    def closed(self, by: str, operation: str, members: int) -> None:
        """A window was sent."""
        self._closed.labels(by).inc()
        self._members.labels(operation).observe(members)


class _Open(msgspec.Struct):
    window: Window
    policy: BatchWindow
    waits: bool
    works: list[Routed]


class BatcherProcessor:
    """Gathers requests; the runtime's ``timed`` shape wakes it when a window is due."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        new_batch_id: Callable[[], str],
        metrics: BatchMetrics,
    ) -> None:
        """Start with no window.

        Args:
            configuration: Bounds of windows, and who may share a merged call.
            new_batch_id: Makes unique ids.
            metrics: Where windows are counted.
        """
        self._configuration = configuration
        self._models = NamePatterns(configuration.models)
        self._new_batch_id = new_batch_id
        self._metrics = metrics
        self._open: dict[WindowKey, _Open] = {}
        self._lanes: dict[str, LaneGain] = {}

    def take(self, works: Sequence[Routed], *, now_ms: float) -> list[Closed]:
        """Put requests into windows; return the batches that leave at once."""
        leaving: list[Closed] = []
        fresh: set[WindowKey] = set()
        for work in works:
            key = self._key(work)
            current = self._open.get(key)
            if current is not None and not fits(current.window, work.event, current.policy):
                leaving.append(self._close(key, "bytes", now_ms=now_ms))
                current = None
            if current is None:
                current = self._open_window(key, work.event, now_ms=now_ms)
                fresh.add(key)
            joined(current.window, work.event)
            current.works.append(work)
            if (by := full_by(current.window, current.policy)) is not None:
                leaving.append(self._close(key, by, now_ms=now_ms))
                fresh.discard(key)
        for key in fresh:
            current = self._open[key]
            current.window.first_count = current.window.count
            if not current.waits:
                by = "lone" if current.window.count == 1 else "burst"
                leaving.append(self._close(key, by, now_ms=now_ms))
        leaving += self.on_due(now_ms=now_ms)
        return leaving

    def due_at_ms(self) -> float | None:
        """When the next window closes by time, unix ms."""
        if not self._open:
            return None
        return min(current.window.close_at_ms for current in self._open.values())

    def on_due(self, *, now_ms: float) -> list[Closed]:
        """Close what is due."""
        due = [key for key, current in self._open.items() if current.window.close_at_ms <= now_ms]
        return [
            self._close(
                key,
                closed_by_time(self._open[key].window, self._open[key].policy),
                now_ms=now_ms,
            )
            for key in due
        ]

    def _key(self, work: Routed) -> WindowKey:
        routed = work.event
        merge = self._may_merge(routed)
        provider = self._configuration.providers.get(routed.route.targets[0].provider)
        isolates = provider is not None and provider.isolates_inputs_by_index
        return WindowKey(
            work.partition,
            lane_of(routed, mixes_tenants=isolates or not merge),
            routed.request.priority,
            merge,
        )

    def _may_merge(self, routed: RequestRouted) -> bool:
        found = self._models.find(routed.route.alias)
        if routed.request.operation == Operation.EMBEDDINGS:
            return found is None or found.value.merge
        if routed.request.operation != Operation.TEXT_COMPLETION or routed.request.stream:
            return False
        if found is None or not found.value.merge_completions or routed.route.is_cascade:
            return False
        # Caps are set in a caller's own body, which a merged call has not.
        is_capped = routed.request.feature in self._configuration.features
        return not is_capped and found.value.output == Output()

    def _open_window(self, key: WindowKey, routed: RequestRouted, *, now_ms: float) -> _Open:
        policy: BatchWindow = getattr(self._configuration.batcher, routed.request.operation)
        lane = self._gain(key.lane)
        since_ms = now_ms - lane.opened_at_ms if lane.opened_at_ms else 0.0
        waits = should_wait(lane, policy, since_ms=since_ms)
        lane.opened_at_ms = now_ms
        current = _Open(opened(policy, now_ms=now_ms), policy, waits=waits, works=[])
        self._open[key] = current
        return current

    def _gain(self, lane: str) -> LaneGain:
        """What is known of a lane; of those that callers name at will the oldest are forgotten."""
        if lane not in self._lanes and len(self._lanes) >= _MAX_LANES:
            del self._lanes[next(iter(self._lanes))]
        return self._lanes.setdefault(lane, LaneGain())

    def _close(self, key: WindowKey, by: str, *, now_ms: float) -> Closed:
        current = self._open.pop(key)
        learned(self._gain(key.lane), current.window, waited=current.waits)
        members = []
        for work in current.works:
            hop = work.hop(work.event.request, now_ms=now_ms)
            members.append(msgspec.structs.replace(work.event, hops=(*work.event.hops, hop)))
        self._metrics.closed(by, members[0].request.operation, len(members))
        batch = RequestBatch(
            batch_id=self._new_batch_id(),
            lane=key.lane,
            merge=key.merge,
            closed_by=by,
            opened_at=int(current.window.opened_at_ms),
            members=tuple(by_deadline(members)),
        )
        emit = Emit(
            topic=BATCH_TOPICS[key.priority],
            key=batch.batch_id,
            event=batch,
            partition=key.partition,
        )
        return current.works, emit
