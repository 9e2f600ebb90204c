"""What sharing calls gains."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_WAITS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_LABELS = ("provider", "model", "operation")
_MOST_LANES = 256
_OTHERS = "_other"


class SharingMetrics:
    """What is measured of lanes; those beyond the first few hundred are counted as one."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the metrics."""
        self._lanes: set[tuple[str, str, str]] = set()
        self._requests = Histogram(
            "millrace_shared_call_requests",
            "Requests that share an upstream call.",
            _LABELS,
            buckets=_SIZES,
            registry=registry,
        )
        self._inputs = Histogram(
            "millrace_shared_call_inputs",
            "Different inputs of an upstream call.",
            _LABELS,
            buckets=_SIZES,
            registry=registry,
        )
        self._waited = Histogram(
            "millrace_shared_call_waited_seconds",
            "Time that a batch waits in the model caller for a call of its lane.",
            _LABELS,
            buckets=_WAITS_S,
            registry=registry,
        )
        self._saved = Counter(
            "millrace_shared_calls_saved",
            "Upstream calls that requests would have been, less those that were made.",
            _LABELS,
            registry=registry,
        )
        self._repeated = Counter(
            "millrace_shared_inputs_repeated",
            "Inputs that were not sent as an equal one was.",
            _LABELS,
            registry=registry,
        )
        self._calls = Gauge(
            "millrace_shared_calls_limit",
            "Calls that the lane may have under way.",
            _LABELS,
            registry=registry,
        )

    def called(
        self, lane: tuple[str, str, str], *, requests: int, inputs: int, repeated: int
    ) -> None:
        """A call was made for so many requests."""
        labels = self._of(lane)
        self._requests.labels(*labels).observe(requests)
        self._inputs.labels(*labels).observe(inputs)
        self._saved.labels(*labels).inc(requests - 1)
        self._repeated.labels(*labels).inc(repeated)

    def waited(self, lane: tuple[str, str, str], waited_s: float) -> None:
        """A batch waited so long for its call."""
        self._waited.labels(*self._of(lane)).observe(waited_s)

    def limit(self, lane: tuple[str, str, str], calls: float) -> None:
        """So many calls may be under way."""
        self._calls.labels(*self._of(lane)).set(calls)

    def _of(self, lane: tuple[str, str, str]) -> tuple[str, str, str]:
        if lane not in self._lanes:
            if len(self._lanes) >= _MOST_LANES:
                return (_OTHERS, _OTHERS, lane[2])
            self._lanes.add(lane)
        return lane
