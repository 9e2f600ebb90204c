"""How much each process has to do: samples of its metrics, and rates between two of them."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from services.cli.local_stack import probe
from services.cli.local_stack.state import ProcessRecord, ProcessState

_Run = tuple[str, int | None]


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
        self._samples: dict[_Run, tuple[float, probe.Sample]] = {}
        self._rates: dict[_Run, float | None] = {}

    async def read(self, records: Sequence[ProcessRecord]) -> None:
        """Ask all processes that should answer, at once; the others are forgotten."""
        asked = [r for r in records if r.probes and r.state is ProcessState.RUNNING]
        samples = await asyncio.gather(*(probe.sample(record.probes) for record in asked))
        now_s = self._monotonic_s()
        before = self._samples
        self._samples = {
            _run(record): (now_s, sample) for record, sample in zip(asked, samples, strict=True)
        }
        self._rates = {
            run: _rate(before.get(run), reading) for run, reading in self._samples.items()
        }

    def rows(self, records: Sequence[ProcessRecord]) -> list[Row]:
        """The processes as they are now, with the figures of the last reading."""
        return [self._row(record) for record in records]

    def _row(self, record: ProcessRecord) -> Row:
        run = _run(record)
        _, sample = self._samples.get(run, (0.0, None))
        return Row(
            name=record.name,
            state=record.state,
            is_ready=sample.is_ready if sample else None,
            pid=record.pid,
            restarts=record.restarts,
            in_flight_records=sample.in_flight_records if sample else None,
            lag_records=sample.lag_records if sample else None,
            records_per_s=self._rates.get(run),
        )


def _run(record: ProcessRecord) -> _Run:
    """One run of a process: started again, it counts from 0."""
    return record.name, record.pid


def _rate(
    before: tuple[float, probe.Sample] | None, now: tuple[float, probe.Sample]
) -> float | None:
    if before is None or now[0] <= before[0]:
        return None
    earlier, later = before[1].processed_records, now[1].processed_records
    if earlier is None or later is None:
        return None
    return (later - earlier) / (now[0] - before[0])
