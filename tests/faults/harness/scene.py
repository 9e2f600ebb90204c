"""The course of a scenario: warm-up, steady, fault, heal, quiesce, stop, check."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import msgspec

from tests.faults.checker.check import violations
from tests.faults.checker.history import (
    RESULTS,
    Fault,
    Health,
    History,
    Lag,
    Operation,
    Poison,
    requests_in,
)
from tests.faults.checker.journal import calls_from_journal
from tests.faults.checker.log_reader import groups_of, read_lags, read_topics
from tests.faults.checker.operation_log import operations_from_lines
from tests.faults.harness.client import Clients
from tests.faults.harness.load import Load
from tests.faults.harness.operation_log import OperationLog
from tests.faults.harness.proxy import FaultProxy, fault_proxy
from tests.faults.harness.report import Row, row_of, row_of_failure
from tests.faults.harness.rig import Rig, eventually

RATE = 20.0
WARM_UP_S, STEADY_S, AFTER_S = 2.0, 2.0, 3.0
QUIET_S = 30.0
_LOOKS = 12
_HEALTH_INTERVAL_S, _HEALTH_TIMEOUT_S = 0.5, 4.0
_LET_BE = ("fault-checker", "metrics-aggregator")
"""Groups that need not be at the end: the checker's own, and one that commits at its leisure."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of the suite was told.

    Attributes:
        seed: Of the load.
        unchecked: Invariants that are not held against the stack.
        rate: Requests a second.
    """

    seed: int
    unchecked: tuple[str, ...] = ()
    rate: float = RATE


class Harm(msgspec.Struct):
    """A fault while it happens.

    Attributes:
        evidence: What proves it; a fault without is a violation.
    """

    evidence: str = ""


class Scene:
    """A scenario under way.

    Attributes:
        rig: The stack.
        load: What is sent.
        clients: Who sends it.
        proxy: Between the model caller and the provider.
        poisons: Bad records that were written.
    """

    def __init__(
        self, rig: Rig, clients: Clients, load: Load, proxy: FaultProxy, log: OperationLog
    ) -> None:
        """Put together what a scenario needs."""
        self.rig = rig
        self._log = log
        self.clients = clients
        self.load = load
        self.proxy = proxy
        self.poisons: list[Poison] = []
        self.faults: list[Fault] = []
        self.health: list[Health] = []

    @asynccontextmanager
    async def fault(
        self,
        name: str,
        *,
        is_total: bool = False,
        lost: str = "",
        victims: Sequence[str] = (),
        recovery_s: float = 20.0,
        forgets: bool = False,
    ) -> AsyncIterator[Harm]:
        """A fault for the length of an ``async with`` block, which has to note its evidence."""
        harm, begun_s = Harm(), time.time()
        yield harm
        fault = Fault(
            name=name, begun_s=begun_s, healed_s=time.time(), is_total=is_total, lost=lost,
            victims=tuple(victims), recovery_s=recovery_s, evidence=harm.evidence, forgets=forgets,
        )  # fmt: skip
        self.faults.append(fault)

    def was_refused_since(self, begun_s: float) -> bool:
        """Whether somebody who asked since then was told 503."""
        operations = operations_from_lines(self._log.lines())
        return any(o.status == 503 and o.invoked_s > begun_s for o in operations)

    def accepted(self) -> list[Operation]:
        """Requests that were accepted so far."""
        return [o for o in operations_from_lines(self._log.lines()) if _owes(o)]

    async def watch_health(self, session: aiohttp.ClientSession) -> None:
        """Ask the gateways how they are until cancelled."""
        while True:
            for name, url in self.rig.gateways.items():
                at_s = time.time()
                livez, readyz = await asyncio.gather(
                    _status(session, f"{url}/livez"), _status(session, f"{url}/readyz")
                )
                self.health.append(Health(at_s=at_s, gateway=name, livez=livez, readyz=readyz))
            await asyncio.sleep(_HEALTH_INTERVAL_S)


async def _status(session: aiohttp.ClientSession, url: str) -> int:
    try:
        async with asyncio.timeout(_HEALTH_TIMEOUT_S), session.get(url) as response:
            return response.status
    except (aiohttp.ClientError, TimeoutError, ConnectionError):
        return 0


@asynccontextmanager
async def scenario(
    rig: Rig, name: str, rows: list[Row], options: Options, *, slow: bool = False
) -> AsyncIterator[Scene]:
    """Load around a fault, which the body of the ``async with`` block does; then the reckoning.

    Args:
        rig: The stack.
        name: The scenario's.
        rows: Gets its line of the table, whatever it says.
        options: Seed, and what is not checked.
        slow: Whether answers take half a minute each.
    """
    log = OperationLog(rig.path(f"operations-{time.time_ns()}.jsonl"))
    print(f"\n{name}: seed {options.seed}")
    try:
        async with _under_load(rig, log, options, slow=slow) as scene:
            yield scene
            await _recover(log, scene)
    except (AssertionError, OSError, TimeoutError) as error:
        rows.append(row_of_failure(name, str(error), seed=options.seed))
        raise
    finally:
        log.close()
    history = await asyncio.to_thread(witnessed, scene, log)
    judge(name, history, rows, options, seen=rig.seen)


@asynccontextmanager
async def _under_load(
    rig: Rig, log: OperationLog, options: Options, *, slow: bool
) -> AsyncIterator[Scene]:
    """A steady load for the length of an ``async with`` block; at its end all is quiet."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with (
        fault_proxy(rig.simulator_port, port=rig.provider_port) as (proxy, _),
        aiohttp.ClientSession(connector=connector) as session,
    ):
        clients = Clients(session, log, rig.gateways)
        load = Load(clients, rig.tenants, rate=options.rate, seed=options.seed, slow=slow)
        scene = Scene(rig, clients, load, proxy, log)
        async with _sending(scene, session):
            await asyncio.sleep(WARM_UP_S + STEADY_S)
            yield scene
        await _quiesce(rig, log)
        await _look(clients, rig, log, seed=options.seed)


@asynccontextmanager
async def _sending(scene: Scene, session: aiohttp.ClientSession) -> AsyncIterator[None]:
    sending = asyncio.create_task(scene.load.send())
    watching = asyncio.create_task(scene.watch_health(session))
    try:
        yield
    except BaseException:
        await scene.load.abandon()
        raise
    finally:
        for task in (sending, watching):
            task.cancel()
        await asyncio.gather(sending, watching, return_exceptions=True)
    await scene.load.finish()


async def _recover(log: OperationLog, scene: Scene) -> None:
    """Go on until answers flow again, or should have, and a while longer."""
    healed_s = max((fault.healed_s for fault in scene.faults), default=0.0)
    patience_s = max((fault.recovery_s for fault in scene.faults), default=0.0)
    while time.time() < healed_s + patience_s:
        if any(o.is_ok and o.invoked_s > healed_s for o in operations_from_lines(log.lines())):
            break
        await asyncio.sleep(0.2)
    await asyncio.sleep(AFTER_S)


async def _quiesce(rig: Rig, log: OperationLog) -> None:
    """Wait until nothing is under way; what still is after that is for the checker to see."""
    begun_s, waited_for = time.monotonic(), ""

    def is_quiet() -> bool:
        nonlocal waited_for
        behind = [str(lag) for lag in _lags(rig) if max(lag.committed, 0) < lag.end]
        ended = requests_in(iter(read_topics(rig.kafka, rig.schemas, only={RESULTS})[RESULTS]))
        accepted = {o.request_id for o in operations_from_lines(log.lines()) if _owes(o)}
        waited_for = ", ".join([*behind, *(accepted - ended)]) or waited_for
        return not behind and accepted <= ended

    with contextlib.suppress(AssertionError):
        await eventually(is_quiet, timeout_s=QUIET_S, poll_s=0.5)
    print(f"quiet after {time.monotonic() - begun_s:.1f} s; last waited for: {waited_for[:300]}")


def _owes(operation: Operation) -> bool:
    return operation.kind == "ask" and operation.is_accepted


def _lags(rig: Rig) -> tuple[Lag, ...]:
    groups = [group for group in groups_of(rig.kafka) if not group.startswith(_LET_BE)]
    return read_lags(rig.kafka, groups)


async def _look(clients: Clients, rig: Rig, log: OperationLog, *, seed: int) -> None:
    """Ask gateways what became of some requests."""
    draw = random.Random(seed)
    tenants = {tenant.name: tenant for tenant in rig.tenants}
    accepted = [o for o in operations_from_lines(log.lines()) if _owes(o) and o.request_id]
    for operation in draw.sample(accepted, min(_LOOKS, len(accepted))):
        gateway = draw.choice(sorted(clients.gateways))
        tenant = tenants[operation.tenant]
        await clients.look(operation.request_id, tenant=tenant, gateway=gateway)


def witnessed(scene: Scene, log: OperationLog) -> History:
    """Hear every witness."""
    rig = scene.rig
    return History(
        operations=operations_from_lines(log.lines()),
        topics=read_topics(rig.kafka, rig.schemas),
        calls=calls_from_journal(rig.journal),
        lags=_lags(rig),
        faults=tuple(scene.faults),
        health=tuple(scene.health),
        poisons=tuple(scene.poisons),
        canaries={tenant.name: tenant.canary for tenant in rig.tenants},
        secrets=tuple(tenant.key for tenant in rig.tenants),
    )


def judge(
    name: str,
    history: History,
    rows: list[Row],
    options: Options,
    *,
    seen: set[str],
) -> None:
    """Check a history and note its line; what an earlier scenario has shown is not shown again.

    Raises:
        AssertionError: A promise was not kept, or the fault was not done.
    """
    found = violations(history, unchecked=options.unchecked)
    fresh = [violation for violation in found if str(violation) not in seen]
    seen |= {str(violation) for violation in fresh}
    rows.append(row_of(name, history, fresh, seed=options.seed, unchecked=options.unchecked))
    assert history.faults, "the scenario did no harm"
    shown = "\n".join(map(str, fresh[:40]))
    assert not fresh, f"{len(fresh)} promises broken, seed {options.seed}:\n{shown}"
