"""What was found, for people and for programs."""

from collections.abc import Mapping, Sequence

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from tests.load.bench import Bench, Pace, Run
from tests.load.figures import Figure, Limit, Verdict
from tests.load.hops import HopTimes
from tests.load.machine import Machine
from tests.load.processes import Memory, of_the_stack

_STYLES = {
    Verdict.TARGET: "green",
    Verdict.FLOOR: "yellow",
    Verdict.MISSED: "red",
    Verdict.NONE: "",
}
_HOP_FIGURES = ("mean", "p50", "p99")
_NOTABLE_CORES = 0.15
_WHOLE = "the stack"
_MB = 1_000_000


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, for the file.

    Attributes:
        started_at: ISO 8601.
        machine: Where.
        pace: How thorough.
        figures: The numbers.
        runs: What they come from.
        hops: Times by scenario.
        idle_cpu_ratio: Share of a core by process, with nothing to do.
        memory: By scenario and process.
        faults: What went wrong.
    """

    started_at: str
    machine: Machine
    pace: Pace
    figures: list[Figure]
    runs: list[Run]
    hops: dict[str, list[HopTimes]]
    idle_cpu_ratio: dict[str, float]
    memory: dict[str, dict[str, Memory]]
    faults: list[str]


def report_of(bench: Bench, *, machine: Machine, started_at: str) -> Report:
    """Take what a benchmark found."""
    return Report(
        started_at=started_at,
        machine=machine,
        pace=bench.pace,
        figures=bench.figures,
        runs=bench.runs,
        hops=bench.hops,
        idle_cpu_ratio=bench.idle_cpu_ratio,
        memory=bench.memory,
        faults=bench.faults,
    )


def show(report: Report, console: Console) -> None:
    """Print the tables."""
    machine = report.machine
    console.print(
        f"\n{machine.cores} cores of {machine.processor}, {machine.memory_bytes / 1e9:.1f} GB, "
        f"{machine.system}, {machine.python}, Java {machine.java}, commit {machine.commit}, "
        f"load before {machine.load_average:.1f}\n",
        highlight=False,
        soft_wrap=True,
    )
    console.print(_figures(report))
    by_scenario = {run.scenario: run.cpu_s_per_1000() for run in report.runs if _counts(run)}
    if by_scenario:
        console.print(_processes("CPU s per 1,000 requests", by_scenario, "{:.3f}"))
    if report.idle_cpu_ratio:
        console.print(_at_rest(report))
    for scenario, hops in report.hops.items():
        console.print(_hops(scenario, hops, whole_ms=_mean_latency_ms(report, scenario)))
    for run in report.runs:
        if (run.others_cores or 0.0) > _NOTABLE_CORES:
            console.print(
                f"Other programs used {run.others_cores:.1f} cores during {run.scenario} → "
                f"{run.target}: its figures are worse than the stack is.",
                style="yellow",
                highlight=False,
                soft_wrap=True,
            )
    for fault in report.faults:
        console.print(fault, style="red", markup=False, highlight=False, soft_wrap=True)


def _figures(report: Report) -> Table:
    """One row a figure, with what it should be."""
    red = {run.scenario for run in report.runs if run.faults}
    table = Table(title="Figures", title_justify="left", box=box.SIMPLE)
    table.add_column("scenario")
    table.add_column("")
    for heading in ("Millrace", "direct", "floor", "target"):
        table.add_column(heading, justify="right")
    table.add_column("")
    last = ""
    for figure in report.figures:
        if last not in ("", figure.scenario):
            table.add_section()
        is_wrong = figure.scenario in red
        style = "red" if is_wrong else _STYLES[figure.verdict]
        table.add_row(
            "" if figure.scenario == last else figure.scenario,
            figure.name,
            _number(figure.value),
            "" if figure.direct is None else _number(figure.direct),
            _bound(figure.limit, "floor"),
            _bound(figure.limit, "target"),
            "requests failed" if is_wrong else figure.verdict.value,
            style=style,
        )
        last = figure.scenario
    return table


def _processes(title: str, columns: Mapping[str, Mapping[str, float]], form: str) -> Table:
    """One row a process, one column a scenario, and the sum."""
    table = Table("process", title=title, title_justify="left", box=box.SIMPLE)
    for name in columns:
        table.add_column(name, justify="right")
    names = dict.fromkeys(name for column in columns.values() for name in column)
    for name in names:
        table.add_row(name, *(_cell(column, name, form) for column in columns.values()))
    table.add_section()
    sums = (form.format(of_the_stack(column)) for column in columns.values())
    table.add_row(f"{_WHOLE} (without simulator)", *sums)
    return table


def _at_rest(report: Report) -> Table:
    """CPU and memory of each process."""
    columns = {"idle CPU, % of a core": _scaled(report.idle_cpu_ratio, 100.0)}
    for scenario, held in report.memory.items():
        fair = {name: memory.proportional_bytes / _MB for name, memory in held.items()}
        resident = {name: memory.resident_bytes / _MB for name, memory in held.items()}
        columns |= {f"{scenario}: MB": fair, f"{scenario}: MB resident": resident}
    return _processes("At rest", columns, "{:.1f}")


def _mean_latency_ms(report: Report, scenario: str) -> float:
    runs = (run for run in report.runs if run.scenario == scenario and run.target == "millrace")
    return next(run.outcome.latency.mean_ms for run in runs)


def _hops(scenario: str, hops: Sequence[HopTimes], *, whole_ms: float) -> Table:
    """One row a stage; the last one is what clients waited for beyond all stages."""
    title = f"Hops, {scenario}, ms"
    table = Table("stage", title=title, title_justify="left", box=box.SIMPLE)
    headings = [f"{what} {which}" for what in ("waited", "worked") for which in _HOP_FIGURES]
    for heading in ("requests", *headings):
        table.add_column(heading, justify="right")
    for hop in hops:
        times = [
            f"{getattr(times, f'{which}_ms'):.1f}"
            for times in (hop.waited, hop.worked)
            for which in _HOP_FIGURES
        ]
        table.add_row(hop.service, str(hop.waited.count), *times)
    inside_ms = sum(hop.waited.mean_ms + hop.worked.mean_ms for hop in hops)
    table.add_row("before and after", "", f"{whole_ms - inside_ms:.1f}")
    return table


def _counts(run: Run) -> bool:
    return bool(run.cpu_s) and run.target == "millrace"


def _scaled(values: Mapping[str, float], factor: float) -> dict[str, float]:
    return {name: value * factor for name, value in values.items()}


def _cell(column: Mapping[str, float], name: str, form: str) -> str:
    return form.format(column[name]) if name in column else ""


def _bound(limit: Limit | None, which: str) -> str:
    bound = getattr(limit, which, None)
    if limit is None or bound is None:
        return ""
    return f"{'≤' if limit.is_most else '≥'} {_number(bound)}"


def _number(value: float) -> str:
    """Three figures that mean something."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
