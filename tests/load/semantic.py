"""What it costs to compare questions by meaning: the same load with the semantic tier and without.

No two questions are alike and all have one scope, the worst case: each is encoded and compared
with all that were asked before, guards read what is near, and hardly any is answered from the
cache. Runs without it say ``Cache-Control: no-semantic`` to the same stack, and alternate with the
others, as a machine's speed wanders.
"""

import re
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

import msgspec

from services.cli.local_stack.ports import free_port
from services.cli.local_stack.state import Layout, read_stack
from services.shared.domain.configuration import Cache
from services.shared.domain.configuration_semantic import Semantic, SemanticMode
from services.shared.domain.default_configuration import simulator_configuration
from tests.load.bench import Bench, Run
from tests.load.figures import at_least
from tests.load.plan import ClosedLoop, Plan
from tests.load.stack import StackFailed, describe, start, stop
from tests.support.simulator import simulator
from tests.support.temporary_folders import temporary_folder

_ROUNDS = 2
_IN_FLIGHT = 64
_OUTCOME = re.compile(r'^millrace_semantic_lookups_total\{outcome="(\w+)"\} ([\d.e+]+)$', re.M)
_NOT_COMPARED = ("late", "unavailable")
_TIMEOUT_S = 10.0


def semantic(bench: Bench, name: str) -> None:
    """Requests/s and CPU of distinct questions, compared or not."""
    off = Plan(
        model="sim-fast",
        arrivals=ClosedLoop(_IN_FLIGHT),
        duration_s=bench.pace.run_s,
        questions=True,
        cache_control="no-semantic",
    )
    on = msgspec.structs.replace(off, cache_control="")
    with _comparing(bench) as data:
        without, compared, outcomes = [], [], Counter[str]()
        for _ in range(_ROUNDS):
            without.append(bench.run(f"{name}-off", bench.stack.millrace, off))
            bench.warm_up(bench.stack.millrace, on)
            before = _outcomes(data)
            compared.append(bench.run_warm(f"{name}-on", bench.stack.millrace, on))
            outcomes += _outcomes(data) - before
    _tell(bench, f"{name}-off", without)
    _tell(bench, f"{name}-on", compared)
    ratio = _mean_rate(compared) / max(1.0, _mean_rate(without))
    bench.figure(f"{name}-on", "requests/s, % of without", ratio * 100, limit=at_least(70))
    _tell_outcomes(bench, f"{name}-on", outcomes)


@contextmanager
def _comparing(bench: Bench) -> Iterator[Path]:
    """Restart the stack with the semantic tier, and afterwards as it was; its data directory.

    A configuration names the simulator before the stack has chosen ports, so it is another one.
    """
    data = bench.stack.data
    assert data is not None
    with simulator() as upstream, temporary_folder("bench-semantic") as folder:
        configuration = msgspec.structs.replace(
            simulator_configuration(upstream.url),
            cache=Cache(semantic=Semantic(mode=SemanticMode.GUARDED)),
        )
        config = folder / "millrace.yaml"
        config.write_bytes(msgspec.json.encode(configuration))
        stop(data)
        try:
            start(data, port=free_port(), config=config)
            try:
                compares = describe(data, is_own=True)
                bench.stack = msgspec.structs.replace(compares, upstream=upstream.pid)
                yield data
            finally:
                stop(data)
        finally:
            start(data, port=free_port())
            bench.stack = describe(data, is_own=True)


def _outcomes(data: Path) -> Counter[str]:
    """What came of comparing requests since the look-up started, by its own counters."""
    stack = read_stack(Layout(data))
    probes = [it.probes for it in stack.processes if it.name == "cache-lookup"] if stack else []
    if not probes:
        raise StackFailed("there is no cache-lookup to ask what it compared")
    with urllib.request.urlopen(f"{probes[0]}/metrics", timeout=_TIMEOUT_S) as answer:  # noqa: S310  # ours
        text = answer.read().decode()
    return Counter({name: int(float(count)) for name, count in _OUTCOME.findall(text)})


def _tell(bench: Bench, name: str, runs: Sequence[Run]) -> None:
    """Means over the rounds."""
    bench.figure(name, "requests/s", _mean_rate(runs))
    for label, read in (("p50", "p50_ms"), ("p99", "p99_ms")):
        value = fmean(getattr(run.outcome.latency, read) for run in runs)
        bench.figure(name, f"whole answer {label}, ms", value)
    bench.figure(name, "CPU s per 1,000", fmean(run.stack_cpu_s_per_1000 for run in runs))


def _tell_outcomes(bench: Bench, name: str, outcomes: Counter[str]) -> None:
    """What became of them; who was late or in vain cost less than an answer in time does."""
    asked = max(1, outcomes.total())
    missed = sum(outcomes[outcome] for outcome in _NOT_COMPARED)
    if missed == asked:
        raise StackFailed(f"no question was compared: {dict(outcomes)}")
    for outcome, count in outcomes.most_common():
        bench.figure(name, f"compared: {outcome}, %", count / asked * 100)


def _mean_rate(runs: Sequence[Run]) -> float:
    return fmean(run.outcome.rate_per_s for run in runs)
