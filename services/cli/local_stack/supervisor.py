"""Runs the whole stack: starts everything, keeps it running, and stops it in order."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence

from services.cli.errors import CommandError
from services.cli.local_stack.logs import tail
from services.cli.local_stack.plan import Plan, checkout
from services.cli.local_stack.process import ManagedProcess
from services.cli.local_stack.spawning import Nursery, ProcessSpec
from services.cli.local_stack.state import ProcessRecord, Stack, StackState, write_json
from services.cli.local_stack.topics import make_topics
from services.shared.domain.errors import Unavailable
from services.shared.stream.admin import wait_until_ready

KAFKA_START_S = 90.0
KAFKA_ATTEMPTS = 3
PATH_HEAD_START_S = 10.0
SAY_AFTER_S = 15.0
STOP_GATEWAYS_S = 4.0
STOP_SERVICES_S = 3.5
STOP_STORES_S = 2.0
WRITE_AGAIN_S = 1.0


class Supervisor:
    """The running stack."""

    def __init__(self, plan: Plan, *, on_event: Callable[[str], None]) -> None:
        """Prepare; ``start`` starts.

        Args:
            plan: What to run.
            on_event: Told what an operator should know.
        """
        self.plan = plan
        self.state = StackState.STARTING
        self.changed = asyncio.Event()
        self._on_event = on_event
        modules = dict.fromkeys(spec.module for spec in plan.on_path if spec.module)
        self._nursery = Nursery(
            tuple(modules), log=plan.layout.log_of("nursery"), on_event=on_event
        )
        self._kafka = self._managed(plan.kafka)
        self._redis = self._managed(plan.redis)
        self._on_path = [self._managed(spec) for spec in plan.on_path]
        self._beside = [self._managed(spec) for spec in plan.beside]
        self._needed = [self._redis, *self._on_path]
        self._running: dict[str, asyncio.Task[None]] = {}
        self._unwritten: asyncio.TimerHandle | None = None

    @property
    def processes(self) -> list[ManagedProcess]:
        """Everything, in the order of its start."""
        return [self._kafka, self._redis, *self._on_path, *self._beside]

    @property
    def records(self) -> list[ProcessRecord]:
        """What there is to say about each of them."""
        return [process.record for process in self.processes]

    async def start(self) -> None:
        """Start everything; returns when requests can be answered.

        Services start beside the broker and wait for it, unless its topics are still to be made.

        Raises:
            CommandError: The broker does not start; shows the end of its log.
            InvalidConfiguration: Its topics are not what is declared, and cannot become it.
        """
        await self._nursery.start(environ=self.plan.environ, folder=checkout())
        self._run([self._kafka, self._redis])
        if self.plan.topics_exist:
            self._run(self._on_path)
        await self._make_topics()
        self._run(self._on_path)
        await self._ready_within(PATH_HEAD_START_S)
        self._run(self._beside)
        while not await self._ready_within(SAY_AFTER_S):
            self._on_event(f"Still waiting for {', '.join(self._unready())} ...")
        self._enter(StackState.RUNNING)

    async def stop(self) -> None:
        """Stop in order: gateways, the other services, Redis, Kafka; 10 s at most."""
        self._enter(StackState.STOPPING)
        gateways = [p for p in self._on_path if p.spec.name.startswith("gateway")]
        others = [p for p in (*self._on_path, *self._beside) if p not in gateways]
        await self._stop(gateways, within_s=STOP_GATEWAYS_S)
        await self._stop(others, within_s=STOP_SERVICES_S)
        await self._stop([self._redis], within_s=STOP_STORES_S)
        await self._stop([self._kafka], within_s=STOP_STORES_S)
        await self._nursery.stop()
        self._enter(StackState.STOPPED)

    def kill(self) -> None:
        """Stop everything at once."""
        for process in self.processes:
            process.kill()

    async def _make_topics(self) -> None:
        plan = self.plan
        give_up_at_s = time.monotonic() + KAFKA_START_S
        while True:
            await self._kafka_ready(give_up_at_s)
            with contextlib.suppress(Unavailable):
                return await asyncio.to_thread(
                    make_topics,
                    plan.layout,
                    plan.bootstrap,
                    partitions=plan.partitions,
                    digest=plan.topics_digest,
                )

    async def _kafka_ready(self, give_up_at_s: float) -> None:
        while self._kafka.failures < KAFKA_ATTEMPTS and time.monotonic() < give_up_at_s:
            with contextlib.suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._kafka.ready.wait()
                await asyncio.to_thread(wait_until_ready, self.plan.bootstrap, timeout_s=1.0)
                return
        log = self.plan.kafka.log
        raise CommandError(f"Kafka does not start. The end of {log}:\n{tail(log, lines=15)}")

    def _managed(self, spec: ProcessSpec) -> ManagedProcess:
        return ManagedProcess(
            spec, on_change=self._write, on_event=self._on_event, spawn=self._nursery.spawn
        )

    def _run(self, processes: Iterable[ManagedProcess]) -> None:
        for process in processes:
            if process.spec.name not in self._running:
                self._running[process.spec.name] = asyncio.create_task(process.run())

    async def _ready_within(self, timeout_s: float) -> bool:
        """Wait until everything that answers requests is ready, but not longer."""
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*(process.ready.wait() for process in self._needed))
        except TimeoutError:
            return False
        return True

    def _unready(self) -> list[str]:
        return [p.spec.name for p in self._needed if not p.ready.is_set()]

    async def _stop(self, processes: Sequence[ManagedProcess], *, within_s: float) -> None:
        tasks = [self._running[p.spec.name] for p in processes if p.spec.name in self._running]
        if not tasks:
            return
        for process in processes:
            process.stop()
        _, stubborn = await asyncio.wait(tasks, timeout=within_s)
        if stubborn:
            for process in processes:
                process.kill()
            await asyncio.wait(stubborn)

    def _enter(self, state: StackState) -> None:
        self.state = state
        self._write()

    def _write(self) -> None:
        """Write down how everything is; where the disk refuses, again later.

        Whoever keeps a process running comes through here, and must not end of a full disk: it is
        what starts the broker again once there is room.
        """
        was_unwritten = self._unwritten is not None
        if self._unwritten is not None:
            self._unwritten.cancel()
            self._unwritten = None
        self.changed.set()
        try:
            write_json(self.plan.layout.state, self._stack())
        except OSError as error:
            loop = asyncio.get_running_loop()
            self._unwritten = loop.call_later(WRITE_AGAIN_S, self._write)
            if not was_unwritten:
                self._on_event(f"{self.plan.layout.state} cannot be written: {error.strerror}")

    def _stack(self) -> Stack:
        plan = self.plan
        return Stack(
            state=self.state,
            pid=os.getpid(),
            data=str(plan.layout.root),
            partitions=plan.partitions,
            config=plan.config,
            addresses=plan.addresses,
            processes=self.records,
        )
