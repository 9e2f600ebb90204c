"""What is measured."""

import functools
import secrets
import time
from collections.abc import Callable
from enum import IntEnum

import msgspec

from services.cli.local_stack.ports import HOST, free_port
from tests.load.bench import Bench, Generator, Run
from tests.load.figures import Limit, at_least, at_most
from tests.load.plan import ClosedLoop, OpenLoop, Operation, Plan
from tests.load.processes import CpuMeter, cpu_s, memory, of_the_stack
from tests.load.relay import running_relay
from tests.load.semantic import semantic
from tests.load.stack import StackFailed, describe, start, stop
from tests.load.upstream import embeddings_calls

_HELD_STREAMS = 500
_HELD_S = 5.0
_DISTINCT_HITS = 200
_EMBEDDERS = (1, 10, 64, 256)
_MB = 1_000_000
_OPEN_LOOP_RUNS = 3.0  # a p99 wants more requests than 50/s bring in one run's time
_PROMPT_START_S = 0.1


class Needs(IntEnum):
    """What a scenario must know of the stack."""

    ADDRESS = 0
    PROCESSES = 1
    OWNERSHIP = 2

    @property
    def reason(self) -> str:
        """Why it cannot be measured without."""
        return {
            Needs.ADDRESS: "",
            Needs.PROCESSES: "it looks at the stack's processes",
            Needs.OWNERSHIP: "it restarts the stack, so the stack must be the benchmark's own",
        }[self]


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """Something to measure.

    Attributes:
        name: For ``--scenario``.
        measure: Does it.
        needs: What it must know of the stack.
    """

    name: str
    measure: Callable[[Bench, str], None]
    needs: Needs = Needs.ADDRESS


def _closed_loop(bench: Bench, name: str, *, in_flight: int, rate: Limit, cpu_s: Limit) -> None:
    """As many requests as pass, from a fixed number of clients, of a model that takes no time."""
    plan = Plan(model="sim-fast", arrivals=ClosedLoop(in_flight), duration_s=bench.pace.run_s)
    run, direct = bench.both(name, plan, with_hops=True)
    _rates(bench, name, run, direct, limit=rate)
    _latencies(bench, name, run, direct)
    _cpu(bench, name, run, limit=cpu_s)


def _bare_relay(bench: Bench, name: str) -> None:
    """What the least gateway in Python reaches here: says what the machine is worth."""
    upstream = bench.stack.direct
    if upstream is None:
        return
    plan = Plan(model="sim-fast", arrivals=ClosedLoop(64), duration_s=bench.pace.run_s)
    with running_relay(upstream) as (target, pid):
        bench.warm_up(target, plan)
        before = cpu_s({name: pid})
        run = bench.run_warm(name, target, plan)
        used_s = cpu_s({name: pid})[name] - before[name]
    _rates(bench, name, run, None)
    bench.figure(name, "CPU s per 1,000", used_s / max(1, run.outcome.sent) * 1000)


def _open_loop(bench: Bench, name: str) -> None:
    """What Millrace adds to the time of a request when there is little to do."""
    duration_s = bench.pace.run_s * _OPEN_LOOP_RUNS
    plan = Plan(model="sim-fast", arrivals=OpenLoop(50), duration_s=duration_s)
    run, direct = bench.both(name, plan, with_hops=True)
    _latencies(bench, name, run, direct)
    if direct is not None:
        through, straight = run.outcome.latency, direct.outcome.latency
        added = through.p50_ms - straight.p50_ms
        bench.figure(name, "added p50, ms", added, limit=at_most(15, floor=20))
        added = through.p99_ms - straight.p99_ms
        bench.figure(name, "added p99, ms", added, limit=at_most(40, floor=45))
    _cpu(bench, name, run)


def _held_streams(bench: Bench, name: str) -> None:
    """Streams of five seconds: so many arrive that five hundred are open at once."""
    plan = Plan(
        model="sim-fast:ttft=100ms:spread=0:tps=10:tokens=50",
        stream=True,
        arrivals=OpenLoop(_HELD_STREAMS / _HELD_S, is_poisson=False),
        duration_s=max(bench.pace.run_s, _HELD_S + 0.5),
    )
    run, direct = bench.both(name, plan)
    held = run.outcome.most_open
    bench.figure(name, "streams held at once", held, limit=at_least(2000, floor=_HELD_STREAMS))
    broken = None if direct is None else direct.outcome.failed
    bench.figure(name, "broken streams", run.outcome.failed, direct=broken, limit=at_most(0))
    _stream_times(bench, name, run, direct)
    _latencies(bench, name, run, direct)
    _cpu(bench, name, run)


def _short_streams(bench: Bench, name: str) -> None:
    """Streams of fifty tokens that come as fast as they can."""
    plan = Plan(
        model="sim-fast:tokens=50",
        stream=True,
        arrivals=ClosedLoop(64),
        duration_s=bench.pace.run_s,
    )
    run, direct = bench.both(name, plan)
    _rates(bench, name, run, direct)
    _stream_times(bench, name, run, direct)
    _cpu(bench, name, run, limit=at_most(6))


def _exact_hits(bench: Bench, name: str) -> None:
    """Requests that were answered before."""
    target = bench.stack.millrace
    plan = Plan(
        model="sim-fast",
        arrivals=ClosedLoop(64),
        duration_s=bench.pace.run_s,
        distinct=_DISTINCT_HITS,
        salt=secrets.token_hex(4),
    )
    run = bench.run(name, target, plan)  # warming up fills the cache
    hits = run.outcome.cache.get("exact_hit", 0) / max(1, run.outcome.answered)
    limit = at_least(2500, floor=1200)
    bench.figure(name, "hits/s", run.outcome.rate_per_s * hits, limit=limit)
    bench.figure(name, "share of hits", hits)
    _latencies(bench, name, run, None)
    _cpu(bench, name, run)


def _embeddings(bench: Bench, name: str) -> None:
    """One call an input straight to an upstream that serves one call at a time, against merging."""
    plan = Plan(
        operation=Operation.EMBEDDINGS,
        model="sim-embed-serial",
        arrivals=ClosedLoop(64),
        duration_s=bench.pace.run_s,
    )
    run, direct = bench.both(name, plan)
    _rates(bench, name, run, direct)
    if direct is not None and direct.outcome.rate_per_s:
        times = run.outcome.rate_per_s / direct.outcome.rate_per_s
        bench.figure(name, "times the throughput", times, limit=at_least(10, floor=10))
    _latencies(bench, name, run, direct)
    _cpu(bench, name, run)


def _embeddings_in_flight(bench: Bench, name: str) -> None:
    """The same at several numbers of clients: requests, upstream calls, and the time of one."""
    for in_flight in _EMBEDDERS:
        plan = Plan(
            operation=Operation.EMBEDDINGS,
            model="sim-embed-serial",
            arrivals=ClosedLoop(in_flight),
            duration_s=bench.pace.run_s,
        )
        scenario = f"{name}-{in_flight}"
        direct = None
        if bench.stack.direct is not None:
            direct = bench.run(scenario, bench.stack.direct, plan)
        bench.warm_up(bench.stack.millrace, plan)
        before = _upstream_calls(bench)
        run = bench.run_warm(scenario, bench.stack.millrace, plan)
        _rates(bench, scenario, run, direct)
        if before is not None:
            calls = (_upstream_calls(bench) or 0) - before
            share = run.outcome.answered / max(1, calls)
            bench.figure(scenario, "upstream calls", calls)
            bench.figure(scenario, "requests an upstream call", share, direct=1.0)
        _latencies(bench, scenario, run, direct)
        _cpu(bench, scenario, run)


def _upstream_calls(bench: Bench) -> int | None:
    return None if bench.stack.direct is None else embeddings_calls(bench.stack.direct)


def _idle(bench: Bench, name: str) -> None:
    """What the stack costs while nobody asks anything."""
    data = bench.stack.data
    assert data is not None
    bench.stack.wait_until_quiet()
    meter = CpuMeter(data)
    time.sleep(bench.pace.idle_s)
    elapsed_s = meter.elapsed_s
    ratios = {process: used_s / elapsed_s for process, used_s in meter.used_s().items()}
    bench.idle_cpu_ratio = ratios
    percent = of_the_stack(ratios) * 100
    bench.figure(name, "CPU, % of a core", percent, limit=at_most(10, floor=12))
    _memory(bench, name, limit=at_most(1000, floor=1200))


def _memory_after(bench: Bench, name: str) -> None:
    """What the stack holds after everything above."""
    _memory(bench, name)


def _second_start(bench: Bench, name: str) -> None:
    """From a stack that is down to the first token of a streamed answer."""
    data = bench.stack.data
    assert data is not None
    stop(data)
    port = free_port()
    plan = Plan(
        url=f"http://{HOST}:{port}/v1",
        key=bench.stack.millrace.key,
        model="sim-fast",
        stream=True,
        arrivals=OpenLoop(1 / _PROMPT_START_S, is_poisson=False),
        duration_s=_PROMPT_START_S,
        most_requests=1,
        salt=secrets.token_hex(4),
    )
    generator = Generator(plan)
    began_s = time.monotonic()
    start(data, port=port)
    started_s = time.monotonic() - began_s
    outcome = generator.run()
    bench.stack = describe(data, is_own=True)
    if outcome.failed:
        raise StackFailed(f"no answer after the second start: {outcome.examples[0]}")
    first_s = started_s + outcome.first_token.max_ms / 1000
    bench.figure(name, "to the first token, s", first_s, limit=at_most(6, floor=8))


def _rates(
    bench: Bench, name: str, run: Run, direct: Run | None, *, limit: Limit | None = None
) -> None:
    straight = None if direct is None else direct.outcome.rate_per_s
    bench.figure(name, "requests/s", run.outcome.rate_per_s, direct=straight, limit=limit)


def _latencies(bench: Bench, name: str, run: Run, direct: Run | None) -> None:
    for label, read in (("p50", "p50_ms"), ("p99", "p99_ms")):
        straight = None if direct is None else getattr(direct.outcome.latency, read)
        bench.figure(
            name, f"whole answer {label}, ms", getattr(run.outcome.latency, read), direct=straight
        )


def _stream_times(bench: Bench, name: str, run: Run, direct: Run | None) -> None:
    for what in ("first_token", "token_gap"):
        for label, read in (("p50", "p50_ms"), ("p99", "p99_ms")):
            value = getattr(getattr(run.outcome, what), read)
            straight = None if direct is None else getattr(getattr(direct.outcome, what), read)
            words = what.replace("_", " ")
            bench.figure(name, f"{words} {label}, ms", value, direct=straight)


def _cpu(bench: Bench, name: str, run: Run, *, limit: Limit | None = None) -> None:
    if run.cpu_s:
        bench.figure(name, "CPU s per 1,000", run.stack_cpu_s_per_1000, limit=limit)


def _memory(bench: Bench, name: str, *, limit: Limit | None = None) -> None:
    data = bench.stack.data
    assert data is not None
    held = memory(data)
    bench.memory[name] = held
    resident = of_the_stack({process: m.resident_bytes / _MB for process, m in held.items()})
    fair = of_the_stack({process: m.proportional_bytes / _MB for process, m in held.items()})
    bench.figure(name, "memory, MB (shared pages once)", fair, limit=limit)
    bench.figure(name, "memory, MB (sum of resident)", resident)


SCENARIOS = (
    Scenario(name="idle", measure=_idle, needs=Needs.PROCESSES),
    Scenario(
        name="closed-64",
        measure=functools.partial(
            _closed_loop,
            in_flight=64,
            rate=at_least(1200, floor=700),
            cpu_s=at_most(1.6, floor=2.3),
        ),
    ),
    Scenario(
        name="closed-256",
        measure=functools.partial(
            _closed_loop,
            in_flight=256,
            rate=at_least(2000, floor=1200),
            cpu_s=at_most(0.9),
        ),
    ),
    Scenario(name="bare-relay", measure=_bare_relay),
    Scenario(name="open-50", measure=_open_loop),
    Scenario(name="streams-held", measure=_held_streams),
    Scenario(name="streams-50-tokens", measure=_short_streams),
    Scenario(name="exact-hits", measure=_exact_hits),
    Scenario(name="embeddings", measure=_embeddings),
    Scenario(name="embeddings-in-flight", measure=_embeddings_in_flight),
    Scenario(name="memory-after", measure=_memory_after, needs=Needs.PROCESSES),
    Scenario(name="semantic", measure=semantic, needs=Needs.OWNERSHIP),
    Scenario(name="second-start", measure=_second_start, needs=Needs.OWNERSHIP),
)
