"""How much each process has to do: samples of its metrics, and rates between two of them."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from services.cli.local_stack import probe
from services.cli.local_stack.state import ProcessRecord, ProcessState


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One process in the table.

    Attributes:
        name: Its name.
        state: Where it is in its life.
        is_ready: Whether it can work now; null = it has no probes.
        pid: Process id; null when it does not run.
        restarts: How often it was started again.
        in_flight_records: Records in work; null = not known.
        lag_records: Records that wait for it; null = not known.
        records_per_s: Records taken into work a second since the last reading; null = not known.
    """

    name: str
    state: ProcessState
    is_ready: bool | None
    pid: int | None
    restarts: int
    in_flight_records: float | None = None
    lag_records: float | None = None
    records_per_s: float | None = None


class Meter:
    """Reads processes again and again."""

    def __init__(self, *, monotonic_s: Callable[[], float]) -> None:
        """Remember the clock; rates are known from the second reading on."""
        self._monotonic_s = monotonic_s
        self._last: dict[tuple[str, int | None], tuple[float, float]] = {}

    async def read(self, records: Sequence[ProcessRecord]) -> list[Row]:
        """Ask all processes at once."""
        return list(await asyncio.gather(*(self._row(record) for record in records)))

    async def _row(self, record: ProcessRecord) -> Row:
        asked = bool(record.probes) and record.pid is not None
        sample = await probe.sample(record.probes) if asked else None
        return Row(
            name=record.name,
            state=record.state,
            is_ready=sample.is_ready if sample else None,
            pid=record.pid,
            restarts=record.restarts,
            in_flight_records=sample.in_flight_records if sample else None,
            lag_records=sample.lag_records if sample else None,
            records_per_s=self._rate(record, sample.processed_records if sample else None),
        )

    def _rate(self, record: ProcessRecord, processed_records: float | None) -> float | None:
        if processed_records is None:
            return None
        now_s = self._monotonic_s()
        run = (record.name, record.pid)  # a restarted process counts from 0 again
        before = self._last.get(run)
        self._last[run] = (now_s, processed_records)
        if before is None or now_s <= before[0]:
            return None
        return (processed_records - before[1]) / (now_s - before[0])
