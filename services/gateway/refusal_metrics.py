"""What the front door refused by itself, for Prometheus."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from services.gateway.front_door.door import FrontDoor


class RefusalMetrics(Collector):
    """``millrace_front_door_refusals_total{code}``, read from the door's own counters."""

    def __init__(self, door: FrontDoor) -> None:
        """Look at a door."""
        self._door = door

    def collect(self) -> Iterable[CounterMetricFamily]:
        """One sample a code; a stalled reader that was cut counts as ``stalled_reader``."""
        family = CounterMetricFamily(
            "millrace_front_door_refusals",
            "Requests and connections refused before any endpoint saw them, by error code.",
            labels=("code",),
        )
        for code, count in self._door.refusals.items():
            family.add_metric((code,), count)
        yield family
