"""Open-loop load of clients that behave as clients do: repeat, leave, come back, give up."""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence

from tests.faults.harness.client import Clients, Question, Seen
from tests.faults.harness.configuration import Tenant

STREAM_RATIO = 0.6
DUPLICATE_RATIO = 0.3
LEAVE_RATIO = 0.05
CANCEL_RATIO = 0.05
KEYED_RATIO = 0.12
ONCE_RATIO = 0.3
GONE_FOR_GOOD_RATIO = 0.3
RESUME_TRIES = 16
RESUME_PAUSE_S = 0.5
_KEYED_TRIES = 8
_RETRIABLE = frozenset({0, 409, 429, 500, 502, 503, 504})
_PACES = (("ttft=40ms:tps=60", 24), ("tps=0", 40), ("ttft=200ms:tps=25", 60))
"""Answers of 0.4 s, at once, and 2.6 s."""

_SLOW = ("ttft=1s:tps=2", 58)
"""Answers of half a minute."""

_WORDS = ("river", "stone", "paper", "light", "clock", "bread", "glass", "train", "north", "quiet")


class Load:
    """Requests at a steady rate, sent on time whatever becomes of the earlier ones."""

    def __init__(
        self,
        clients: Clients,
        tenants: Sequence[Tenant],
        *,
        rate: float,
        seed: int,
        slow: bool = False,
    ) -> None:
        """Prepare.

        Args:
            clients: Who asks.
            tenants: On whose account.
            rate: Requests a second.
            seed: Of all that is random.
            slow: Ask for answers of half a minute only, for what happens in mid-call.
        """
        self._clients = clients
        self._tenants = tenants
        self._interval_s = 1 / rate
        self._random = random.Random(seed)
        self._running: set[asyncio.Task[None]] = set()
        self._asked: list[Question] = []
        self._count = 0
        self._slow = slow

    async def send(self) -> None:
        """Send requests until cancelled."""
        due_s = time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            due_s += self._interval_s
            self._count += 1
            task = asyncio.create_task(self._chosen()(self._count))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def finish(self) -> None:
        """Wait for the clients that are under way.

        Raises:
            Exception: One broke; the harness is at fault.
        """
        while self._running:
            await asyncio.gather(*self._running)

    async def abandon(self) -> None:
        """Have all clients vanish."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    # -- what is asked ---------------------------------------------------------------------------

    def question(self, *, is_stream: bool | None = None) -> Question:
        """Something new, or something that was asked before."""
        draw = self._random
        streamed = draw.random() < STREAM_RATIO if is_stream is None else is_stream
        alike = [q for q in self._asked[-200:] if q.is_stream == streamed]
        if alike and not self._slow and draw.random() < DUPLICATE_RATIO:
            return draw.choice(alike)
        tenant = draw.choice(self._tenants)
        pace, length = _SLOW if self._slow else draw.choice(_PACES)
        words = " ".join(draw.choice(_WORDS) for _ in range(length))
        prompt = f"{tenant.canary} {draw.getrandbits(64):016x} {words}"
        once = "once/" if draw.random() < ONCE_RATIO else ""
        asked = Question(
            tenant=tenant, model=f"{once}sim-fast:echo:{pace}", prompt=prompt, is_stream=streamed
        )
        self._asked.append(asked)
        return asked

    def _gateway(self, *, other_than: str = "") -> str:
        names = [name for name in self._clients.gateways if name != other_than]
        return self._random.choice(names or list(self._clients.gateways))

    # -- what clients do -------------------------------------------------------------------------

    def _chosen(self) -> Callable[[int], Coroutine[None, None, None]]:
        weights = {
            self._leave_and_return: LEAVE_RATIO,
            self._cancel: CANCEL_RATIO,
            self._repeat_with_a_key: KEYED_RATIO,
            self._simply_ask: 1 - LEAVE_RATIO - CANCEL_RATIO - KEYED_RATIO,
        }
        return self._random.choices(list(weights), list(weights.values()))[0]

    async def _simply_ask(self, process: int) -> None:
        question, gateway = self.question(), self._gateway()
        seen = await self._clients.ask(question, gateway=gateway, process=process)
        if seen.is_cut:
            await self._come_back(question, seen, gateway=gateway)

    async def stream_and_come_back(self, question: Question, *, gateway: str) -> Seen:
        """Ask for a stream at one gateway and read it to its end, at whichever gateway."""
        seen = await self._clients.ask(question, gateway=gateway, process=0)
        return await self._come_back(question, seen, gateway=gateway) if seen.is_cut else seen

    async def _leave_and_return(self, process: int) -> None:
        question, gateway = self.question(is_stream=True), self._gateway()
        seen = await self._clients.ask(
            question, gateway=gateway, process=process, leave_after=self._random.randint(1, 20)
        )
        is_gone_for_good = self._random.random() < GONE_FOR_GOOD_RATIO
        if seen.is_cut or (seen.is_left and not is_gone_for_good):
            await self._come_back(question, seen, gateway=gateway)

    async def _come_back(self, question: Question, seen: Seen, *, gateway: str) -> Seen:
        """Resume on another gateway, and again until there is nothing more to be had."""
        request_id, part = seen.request_id, seen
        if not (question.is_stream and request_id):
            return seen
        after, since_s = seen.last_id, seen.last_s
        for _ in range(RESUME_TRIES):
            gateway = self._gateway(other_than=gateway)
            part = await self._clients.resume(
                request_id, tenant=question.tenant, gateway=gateway, after=after, since_s=since_s
            )
            after, since_s = part.last_id or after, part.last_s or since_s
            if part.is_over and part.status not in _RETRIABLE and not part.is_cut:
                break
            await asyncio.sleep(RESUME_PAUSE_S)
        return part

    async def _cancel(self, process: int) -> None:
        question, gateway = self.question(is_stream=True), self._gateway()
        after = self._random.randint(1, 12)
        cancelling: list[asyncio.Task[Seen]] = []

        def on_event(seen: Seen) -> None:
            if len(seen.events) == after and not cancelling:
                cancel = self._clients.cancel(
                    seen.request_id, tenant=question.tenant, gateway=self._gateway()
                )
                cancelling.append(asyncio.create_task(cancel))

        await self._clients.ask(question, gateway=gateway, process=process, on_event=on_event)
        await asyncio.gather(*cancelling)

    async def _repeat_with_a_key(self, process: int) -> None:
        """The same request twice under one key, at once or later; sometimes another one."""
        draw = self._random
        new = self.question()
        question = Question(
            tenant=new.tenant, model=new.model, prompt=f"{new.prompt} {process}",
            is_stream=new.is_stream, key=f"key-{process}-{draw.getrandbits(32):08x}",
        )  # fmt: skip
        if draw.random() < 0.5:
            async with asyncio.TaskGroup() as together:
                together.create_task(self._ask_until_answered(question, process))
                together.create_task(self._ask_until_answered(question, process))
        else:
            await self._ask_until_answered(question, process)
            await self._ask_until_answered(question, process)
        if draw.random() < 0.2:
            other = Question(
                tenant=question.tenant, model=question.model, prompt=f"{question.prompt} other",
                is_stream=question.is_stream, key=question.key,
            )  # fmt: skip
            await self._clients.ask(other, gateway=self._gateway(), process=process)

    async def _ask_until_answered(self, question: Question, process: int) -> None:
        for _ in range(_KEYED_TRIES):
            seen = await self._clients.ask(question, gateway=self._gateway(), process=process)
            if not seen.is_cut and seen.status not in _RETRIABLE:
                return
            await asyncio.sleep(RESUME_PAUSE_S)
