"""``python -m tests.load``: measures the stack; exit code 1 = requests failed."""

import contextlib
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from tests.load import bench as benchmarks
from tests.load.machine import facts
from tests.load.report import report_of, show
from tests.load.scenarios import SCENARIOS, Needs, Scenario
from tests.load.stack import StackFailed, StackUnderTest, own_stack, remote_stack

_RESULTS = Path("bench-results")
_PLAIN_WIDTH = 150  # where output is no terminal
_NAMES = ", ".join(scenario.name for scenario in SCENARIOS)


def run(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="A minute: do things work?")] = False,
    scenario: Annotated[
        list[str] | None, typer.Option(help=f"Only these: {_NAMES}.", metavar="NAME")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Data directory: of a running stack, or one to start there; else a temporary one.",
            metavar="DIR",
        ),
    ] = None,
    url: Annotated[
        str, typer.Option(help="Root of a running stack's API, with /v1; nothing is started.")
    ] = "",
    key: Annotated[str, typer.Option(help="Its key.", envvar="MILLRACE_KEY")] = "",
    json: Annotated[
        Path | None,
        typer.Option(help="Where results go; else bench-results/TIME.json.", metavar="FILE"),
    ] = None,
) -> None:
    """Measure throughput, latency, CPU and memory, also straight against the simulator."""
    chosen = _chosen(scenario or [])
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    now = datetime.now(UTC)
    machine = facts()
    pace = benchmarks.QUICK if quick else benchmarks.FULL
    with contextlib.ExitStack() as cleanup:
        if url:
            stack = remote_stack(url, key)
        else:
            _say(console, "Starting the stack.")
            stack = cleanup.enter_context(own_stack(data.resolve() if data else None))
        bench = benchmarks.Bench(stack, pace=pace, say=lambda text: _say(console, text))
        _measure(bench, chosen, console)
    report = report_of(bench, machine=machine, started_at=now.isoformat(timespec="seconds"))
    show(report, console)
    file = json or _RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    console.print(f"Results: {file}", highlight=False, soft_wrap=True)
    if bench.faults:
        sys.exit(1)


def _measure(bench: benchmarks.Bench, chosen: list[Scenario], console: Console) -> None:
    known = _known(bench.stack)
    for scenario in chosen:
        if scenario.needs > known:
            console.print(f"{scenario.name}: left out, {scenario.needs.reason}")
            continue
        try:
            scenario.measure(bench, scenario.name)
        except (StackFailed, benchmarks.GeneratorFailed) as error:
            bench.faults.append(f"{scenario.name}: {error}")


def _known(stack: StackUnderTest) -> Needs:
    if stack.is_own:
        return Needs.OWNERSHIP
    return Needs.PROCESSES if stack.data else Needs.ADDRESS


def _chosen(names: list[str]) -> list[Scenario]:
    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}; known are {_NAMES}")
    return [by_name[name] for name in names] or list(SCENARIOS)


def _say(console: Console, text: str) -> None:
    console.print(text, style="dim", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    typer.run(run)
