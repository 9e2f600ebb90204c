"""Runs generators against the stack, and notes what each run cost."""

import secrets
import subprocess
import sys
from collections.abc import Callable

import msgspec

from services.cli.local_stack.plan import checkout
from tests.load.figures import Figure, Limit
from tests.load.hops import HopTimes, read_hops
from tests.load.plan import ClosedLoop, Outcome, Plan
from tests.load.processes import CpuMeter, Memory, of_the_stack
from tests.load.stack import StackUnderTest, Target

_START_TIMEOUT_S = 60.0


class GeneratorFailed(Exception):
    """The generator ended without a result; its stderr says why."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How thorough to be.

    Attributes:
        run_s: Length of a run.
        warm_s: Length of what precedes it.
        first_warm_s: Length of what precedes the first run against Millrace: Kafka's Java then
            compiles what is used.
        idle_s: How long nothing is done to see what that costs.
    """

    run_s: float
    warm_s: float
    first_warm_s: float
    idle_s: float


FULL = Pace(run_s=10.0, warm_s=3.0, first_warm_s=30.0, idle_s=30.0)
QUICK = Pace(run_s=1.5, warm_s=0.5, first_warm_s=0.5, idle_s=4.0)


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What one run showed.

    Attributes:
        scenario: What for.
        target: Against what: millrace or direct.
        plan: What the generator was told; without the key.
        outcome: What it told.
        cpu_s: CPU seconds by process until all of them were done; empty = not known.
        restarted: Processes that were started again meanwhile.
        settled_s: How long services worked on after the last answer.
        others_cores: Cores that other programs used meanwhile; null = not known.
    """

    scenario: str
    target: str
    plan: Plan
    outcome: Outcome
    cpu_s: dict[str, float]
    restarted: list[str]
    settled_s: float
    others_cores: float | None

    def cpu_s_per_1000(self) -> dict[str, float]:
        """CPU seconds for 1,000 requests by process."""
        sent = max(1, self.outcome.sent)
        return {name: used_s / sent * 1000 for name, used_s in self.cpu_s.items()}

    @property
    def stack_cpu_s_per_1000(self) -> float:
        """The same for the whole stack."""
        return of_the_stack(self.cpu_s_per_1000())

    @property
    def faults(self) -> list[str]:
        """What went wrong, for people."""
        failures = [f"{kind}, {count} times" for kind, count in self.outcome.errors.items()]
        return failures + [f"{name} was restarted" for name in self.restarted]


class Generator:
    """A generator that is ready to begin."""

    def __init__(self, plan: Plan) -> None:
        """Start it and wait until it is prepared.

        Raises:
            GeneratorFailed: It is not; the server may be down.
        """
        self._plan = plan
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.load.generator"],
            cwd=checkout(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{msgspec.json.encode(plan).decode()}\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "ready\n":
            raise GeneratorFailed(f"the generator for {plan.url} exited with {self._end()}")

    def run(self) -> Outcome:
        """Begin, and wait for the result.

        Raises:
            GeneratorFailed: There is none.
        """
        longest_s = self._plan.duration_s + self._plan.timeout_s + _START_TIMEOUT_S
        try:
            result, _ = self._process.communicate("go\n", timeout=longest_s)
        finally:
            status = self._end()
        if status != 0:
            raise GeneratorFailed(f"the generator for {self._plan.url} exited with {status}")
        return msgspec.json.decode(result, type=Outcome)

    def _end(self) -> int:
        self._process.kill()  # does nothing to one that has ended
        return self._process.wait()


class Bench:
    """One benchmark and what it has found so far.

    Attributes:
        stack: What is measured.
        pace: How thoroughly.
        runs: Every run but those that warm up.
        figures: What is reported.
        hops: Times by scenario.
        memory: By scenario and process.
        idle_cpu_ratio: Share of a core by process, with nothing to do.
        faults: What went wrong, also while warming up.
    """

    def __init__(self, stack: StackUnderTest, *, pace: Pace, say: Callable[[str], None]) -> None:
        """Begin with nothing.

        Args:
            stack: What is measured.
            pace: How thoroughly.
            say: Tells the user what goes on.
        """
        self.stack = stack
        self.pace = pace
        self._say = say
        self.runs: list[Run] = []
        self.figures: list[Figure] = []
        self.hops: dict[str, list[HopTimes]] = {}
        self.memory: dict[str, dict[str, Memory]] = {}
        self.idle_cpu_ratio: dict[str, float] = {}
        self.faults: list[str] = []
        self._is_warm = False

    def both(self, scenario: str, plan: Plan, *, with_hops: bool = False) -> tuple[Run, Run | None]:
        """Run a plan straight against the simulator, where it is known, and against Millrace."""
        direct = None if self.stack.direct is None else self.run(scenario, self.stack.direct, plan)
        return self.run(scenario, self.stack.millrace, plan, with_hops=with_hops), direct

    def run(self, scenario: str, target: Target, plan: Plan, *, with_hops: bool = False) -> Run:
        """Warm up, run a plan, and wait until all services are done."""
        self.warm_up(target, plan)
        return self.run_warm(scenario, target, plan, with_hops=with_hops)

    def run_warm(
        self, scenario: str, target: Target, plan: Plan, *, with_hops: bool = False
    ) -> Run:
        """The same of what is warm already."""
        run = self._measure(scenario, target, plan)
        self.runs.append(run)
        if with_hops and self.stack.bootstrap:
            self.hops[scenario] = read_hops(self.stack.bootstrap, since_ms=run.outcome.began_at)
        return run

    def warm_up(self, target: Target, plan: Plan) -> None:
        """Run a plan for a moment; only its faults count."""
        duration_s = self.pace.warm_s
        if target == self.stack.millrace and not self._is_warm:
            duration_s, self._is_warm = self.pace.first_warm_s, True
        self._measure("warm-up", target, msgspec.structs.replace(plan, duration_s=duration_s))

    def figure(
        self,
        scenario: str,
        name: str,
        value: float,
        *,
        direct: float | None = None,
        limit: Limit | None = None,
    ) -> None:
        """Report a number."""
        self.figures.append(
            Figure(scenario=scenario, name=name, value=value, direct=direct, limit=limit)
        )

    def _measure(self, scenario: str, target: Target, plan: Plan) -> Run:
        self._say(f"{scenario}: {_words(plan)} → {target.name}")
        salt = plan.salt if plan.distinct else secrets.token_hex(4)
        plan = msgspec.structs.replace(plan, url=target.url, salt=salt)
        generator = Generator(msgspec.structs.replace(plan, key=target.key))
        data = self.stack.data
        meter = CpuMeter(data, upstream=self.stack.upstream) if data else None
        outcome = generator.run()
        settled_s = self.stack.wait_until_quiet()
        cpu_s = meter.used_s() if meter else {}
        own_s = sum(cpu_s.values()) + outcome.generator_cpu_s
        run = Run(
            scenario=scenario,
            target=target.name,
            plan=plan,
            outcome=outcome,
            cpu_s=cpu_s,
            restarted=meter.restarted() if meter else [],
            settled_s=settled_s,
            others_cores=meter.others_cores(own_s=own_s) if meter else None,
        )
        self.faults += [f"{scenario} → {target.name}: {fault}" for fault in run.faults]
        self.faults += [f"  e.g. {example}" for example in outcome.examples]
        return run


def _words(plan: Plan) -> str:
    arrivals = plan.arrivals
    load = (
        f"{arrivals.in_flight} in flight"
        if isinstance(arrivals, ClosedLoop)
        else f"{arrivals.rate_per_s:g}/s"
    )
    kind = " streams" if plan.stream else ""
    return f"{plan.model}{kind}, {load}, {plan.duration_s:g} s"
