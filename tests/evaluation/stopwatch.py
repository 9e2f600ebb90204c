"""Says where CPU and time of one task go: all of both belongs to the part that it is in."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

WHOLE = "whole look-up"
_US_PER_S = 1e6
_MS_PER_S = 1e3


class Stopwatch:
    """Runs of a task of several parts.

    Parts that happen several times in a run are added up.
    """

    def __init__(self) -> None:
        """Know of no run."""
        self._cpu_s: dict[str, float] = {}
        self._runs: list[dict[str, float]] = []
        self._requests = 0
        self._part = ""
        self._since = (0.0, 0.0)

    @contextmanager
    def run(self, first: str, *, requests: int) -> Iterator[None]:
        """Measure one run; it begins in its first part."""
        self._runs.append({})
        self._requests += requests
        self._part = first
        self._since = _now()
        yield
        self._switch("")

    @contextmanager
    def part(self, name: str, *, then: str) -> Iterator[None]:
        """Be in a part, and in another one after it."""
        self._switch(name)
        try:
            yield
        finally:
            self._switch(then)

    def cpu_us(self, part: str) -> float:
        """CPU of all threads for one request."""
        return self._cpu_s.get(part, 0.0) / max(1, self._requests) * _US_PER_S

    def wall_ms(self, part: str, percentiles: Sequence[float]) -> list[float]:
        """Percentiles of the time of a run's part, over all runs."""
        times = [run.get(part, 0.0) * _MS_PER_S for run in self._runs]
        return [float(it) for it in np.percentile(times, percentiles)]

    def _switch(self, part: str) -> None:
        now = cpu_s, wall_s = _now()
        run = self._runs[-1]
        for name in (self._part, WHOLE):
            self._cpu_s[name] = self._cpu_s.get(name, 0.0) + cpu_s - self._since[0]
            run[name] = run.get(name, 0.0) + wall_s - self._since[1]
        self._part = part
        self._since = now


def _now() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()
