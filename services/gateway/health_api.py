"""``/livez``, ``/readyz``, ``/health`` and ``/metrics`` of a gateway."""

from collections.abc import Callable, Mapping

import msgspec
from prometheus_client import CollectorRegistry

from services.gateway.asgi import Request, Send, send_whole
from services.shared.telemetry.metrics import exposition

Checks = Mapping[str, Callable[[], str]]
"""Components by name; each says what is wrong with it, or nothing."""

Levels = Mapping[str, Callable[[], str]]
"""Components by name that have more to say than ``ok`` while nothing is wrong."""


class HealthApi:
    """Looks, never asks: every check is a memory of what happened lately."""

    def __init__(
        self, *, registry: CollectorRegistry, checks: Checks, levels: Levels | None = None
    ) -> None:
        """Use the memory of the process."""
        self._registry = registry
        self._checks = checks
        self._levels = levels or {}
        self._is_leaving = False

    def leave(self) -> None:
        """Shutdown begins: not ready any more."""
        self._is_leaving = True

    @property
    def is_ready(self) -> bool:
        """Whether requests can be accepted."""
        return not self._wrong()

    async def livez(self, _request: Request, send: Send) -> None:
        """The process turns; depends on nothing else."""
        await send_whole(send, b"ok\n", content_type="text/plain")

    async def readyz(self, _request: Request, send: Send) -> None:
        """Requests can be accepted."""
        wrong = self._wrong()
        if wrong:
            await send_whole(
                send,
                "".join(f"{name}: {why}\n" for name, why in wrong.items()).encode(),
                status=503,
                content_type="text/plain",
            )
        else:
            await send_whole(send, b"ok\n", content_type="text/plain")

    async def health(self, _request: Request, send: Send) -> None:
        """Each component."""
        wrong = self._wrong()
        levels = {name: level() for name, level in self._levels.items()}
        well = dict.fromkeys((*self._checks, "server"), "ok")
        components = well | levels | wrong
        document = {"status": "degraded" if wrong else "ok", "components": components}
        await send_whole(send, msgspec.json.encode(document), status=503 if wrong else 200)

    async def metrics(self, _request: Request, send: Send) -> None:
        """Prometheus' text format."""
        body = exposition(self._registry)
        await send_whole(send, body, content_type="text/plain; version=0.0.4")

    def _wrong(self) -> dict[str, str]:
        wrong = {name: why for name, check in self._checks.items() if (why := check())}
        if self._is_leaving:
            wrong["server"] = "shutting down"
        return wrong
