"""Counters of the simulator in Prometheus' text format.

Written here and not with a client library: a call adds to a handful of them.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from services.simulator.calls import Call

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_PREFIX = "millrace_simulator_"


class Metrics:
    """What happened since the process started."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._finished: Counter[tuple[str, str, int]] = Counter()
        self._inputs: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._buckets = [0] * (len(_BOUNDS_S) + 1)
        self._duration_ms = 0.0

    def finish(self, call: Call, *, duration_ms: float) -> None:
        """Count a call that has ended."""
        self.in_flight -= 1
        self._finished[call.operation, call.outcome, call.status] += 1
        self._inputs[call.operation] += call.inputs
        self._tokens["input"] += call.input_tokens
        self._tokens["output"] += call.output_tokens
        self._buckets[bisect_left(_BOUNDS_S, duration_ms / 1_000)] += 1
        self._duration_ms += duration_ms

    def text(self) -> bytes:
        """Everything, for a scrape."""
        return "".join(f"{line}\n" for line in self._lines()).encode()

    def _lines(self) -> Iterator[str]:
        yield from _head("calls_total", "counter", "Calls that have ended.")
        for (operation, outcome, status), count in self._finished.items():
            labels = f'operation="{operation}",outcome="{outcome}",status="{status}"'
            yield f"{_PREFIX}calls_total{{{labels}}} {count}"
        yield from _head("calls_in_flight", "gauge", "Calls that have not ended.")
        yield f"{_PREFIX}calls_in_flight {self.in_flight}"
        yield from _head("inputs_total", "counter", "Conversations, prompts or texts in calls.")
        for operation, count in self._inputs.items():
            yield f'{_PREFIX}inputs_total{{operation="{operation}"}} {count}'
        yield from _head("tokens_total", "counter", "Tokens of calls that have ended, planned.")
        for kind, count in self._tokens.items():
            yield f'{_PREFIX}tokens_total{{kind="{kind}"}} {count}'
        yield from _head("call_duration_seconds", "histogram", "From arrival to the last byte.")
        total = 0
        for bound, count in zip((*_BOUNDS_S, "+Inf"), self._buckets, strict=True):
            total += count
            yield f'{_PREFIX}call_duration_seconds_bucket{{le="{bound}"}} {total}'
        yield f"{_PREFIX}call_duration_seconds_sum {self._duration_ms / 1_000}"
        yield f"{_PREFIX}call_duration_seconds_count {total}"


def _head(name: str, kind: str, meaning: str) -> Iterator[str]:
    yield f"# HELP {_PREFIX}{name} {meaning}"
    yield f"# TYPE {_PREFIX}{name} {kind}"
