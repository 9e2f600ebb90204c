"""Terminal records in; spans out."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

import msgspec

from services.shared.codec.headers import TRACEPARENT
from services.shared.domain.emit import Emit
from services.shared.domain.events import InferenceFinished
from services.shared.domain.topics import Topic
from services.shared.domain.tracing import TraceContext
from services.shared.ports.span_sink import SpanSink
from services.shared.ports.work import OpenRecord
from services.trace_exporter.decide import batch_span, context_of, is_kept, spans_of

CONSUMES = (Topic.INFERENCE_RESULTS,)
EMITS: tuple[Topic, ...] = ()
_MAX_OPEN_BATCHES = 4096
_MAX_REMEMBERED = 65_536


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests are traced.

    Attributes:
        ratio: Share of plain successes, 0..1; failures and slow requests always are.
        slow_ms: From when on a request is slow.
    """

    ratio: float
    slow_ms: int


Member = tuple[InferenceFinished, TraceContext]


class TraceExporterProcessor:
    """Makes spans of what is sampled; without a sink it only keeps up with the log."""

    def __init__(self, *, sink: SpanSink | None, sampling: Sampling) -> None:
        """Export to a sink.

        Args:
            sink: Where spans go; None = nowhere.
            sampling: Which requests are traced.
        """
        self._sink = sink
        self._sampling = sampling
        self._batches: OrderedDict[str, list[Member]] = OrderedDict()
        self._seen: OrderedDict[str, None] = OrderedDict()

    async def process(
        self, works: Sequence[OpenRecord[InferenceFinished]], _now_ms: float
    ) -> Sequence[Iterable[Emit]]:
        """Export the spans of these requests."""
        if self._sink is not None:
            for work in works:
                if self._is_first(work.event.request_id):
                    self._export(work.event, work.headers, self._sink)
        return [() for _ in works]

    def _is_first(self, request_id: str) -> bool:
        """Whether a request ends here; it may end again, and the first end is the truth."""
        if request_id in self._seen:
            return False
        self._seen[request_id] = None
        if len(self._seen) > _MAX_REMEMBERED:
            self._seen.popitem(last=False)
        return True

    def _export(
        self, finished: InferenceFinished, headers: dict[str, bytes], sink: SpanSink
    ) -> None:
        context = context_of(finished, headers.get(TRACEPARENT, b"").decode("ascii", "replace"))
        kept = is_kept(
            finished,
            trace_id=context.trace_id,
            ratio=self._sampling.ratio,
            slow_ms=self._sampling.slow_ms,
        )
        if kept:
            sink.put(spans_of(finished, context))
            if finished.batch_id:
                self._gather((finished, context), sink)

    def _gather(self, member: Member, sink: SpanSink) -> None:
        """Complete a batch's span; one whose other members are not sampled is pushed out later."""
        finished, _ = member
        members = self._batches.setdefault(finished.batch_id, [])
        members.append(member)
        if len(members) >= finished.batch_size:
            sink.put([batch_span(finished.batch_id, self._batches.pop(finished.batch_id))])
        elif len(self._batches) > _MAX_OPEN_BATCHES:
            oldest, waiting = self._batches.popitem(last=False)
            sink.put([batch_span(oldest, waiting)])

    def close(self) -> None:
        """Export the spans of batches that are not complete."""
        if self._sink is not None:
            self._sink.put(batch_span(*item) for item in self._batches.items())
        self._batches.clear()
