"""Clients: they ask, read, leave, resume, cancel and look, and log all of it."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import msgspec

from tests.faults.harness.configuration import Tenant
from tests.faults.harness.operation_log import OperationLog

PATIENCE_S = 45.0
DONE = "[DONE]"
_ASKING = "/v1/chat/completions"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked.

    Attributes:
        tenant: Who asks.
        model: Of what model.
        prompt: The user's message, which the simulator echoes.
        is_stream: Whether a stream is wanted.
        key: Idempotency-Key; empty = none.
        is_resumable: Whether ids are wanted.
    """

    tenant: Tenant
    model: str
    prompt: str
    is_stream: bool = True
    key: str = ""
    is_resumable: bool = True

    def body(self) -> bytes:
        """The request's bytes."""
        messages = [{"role": "user", "content": self.prompt}]
        document = {"model": self.model, "messages": messages, "stream": self.is_stream}
        return json.dumps(document).encode()


class Seen(msgspec.Struct, kw_only=True):
    """What came of something."""

    status: int = 0
    request_id: str = ""
    body: str = ""
    events: list[dict[str, str]] = []
    error_code: str = ""
    retry_after: str = ""
    is_cut: bool = False
    is_left: bool = False
    longest_gap_s: float = 0.0
    last_s: float = 0.0

    @property
    def last_id(self) -> str:
        """Id of the last event that had one."""
        return next((event["id"] for event in reversed(self.events) if event["id"]), "")

    @property
    def is_done(self) -> bool:
        """Whether the whole stream came."""
        return any(event["data"] == DONE for event in self.events)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to be had."""
        return self.is_done or bool(self.error_code)

    def verdict(self, *, is_stream: bool) -> str:
        """What the log says of it."""
        if self.status >= 400 or self.error_code == "refused_connection":
            return "fail"
        is_whole = 200 <= self.status < 300 and not (self.is_cut or self.error_code)
        return "ok" if is_whole and (self.is_done or not is_stream) else "info"

    def fields(self) -> dict[str, Any]:
        """For the log."""
        named: dict[str, Any] = msgspec.to_builtins(self)
        del named["last_s"]
        return named


class Clients:
    """All clients of a scenario."""

    def __init__(
        self, session: aiohttp.ClientSession, log: OperationLog, gateways: Mapping[str, str]
    ) -> None:
        """Use gateways, given by name and URL."""
        self.gateways = dict(gateways)
        self._session = session
        self._log = log

    async def ask(
        self,
        question: Question,
        *,
        gateway: str,
        process: int,
        leave_after: int = 0,
        on_event: Callable[[Seen], None] | None = None,
    ) -> Seen:
        """Ask and read to the end.

        Args:
            question: What.
            gateway: Whom.
            process: Number of the client.
            leave_after: Leave when so many events have come; 0 = never.
            on_event: Told of each event.
        """
        body = question.body()
        op = self._log.invoke(
            kind="ask", process=process, gateway=gateway, tenant=question.tenant.name,
            key=question.key, fingerprint=hashlib.sha256(_ASKING.encode() + body).hexdigest(),
            canary=question.tenant.canary, expected=question.prompt, is_stream=question.is_stream,
        )  # fmt: skip
        headers = {"content-type": "application/json"}
        if question.is_stream and question.is_resumable:
            headers["x-millrace-resumable"] = "true"
        if question.key:
            headers["idempotency-key"] = question.key
        call = self._session.post(
            f"{self.gateways[gateway]}{_ASKING}",
            data=body,
            headers=headers | question.tenant.headers,
        )
        reader = _Reader(leave_after=leave_after, on_event=on_event)
        return await self._finish(op, call, reader, is_stream=question.is_stream)

    async def resume(
        self, request_id: str, *, tenant: Tenant, gateway: str, after: str, since_s: float
    ) -> Seen:
        """Go on with a stream after an event, or from its start."""
        op = self._log.invoke(
            kind="resume", gateway=gateway, tenant=tenant.name, target=request_id, after=after,
            canary=tenant.canary, is_stream=True,
        )  # fmt: skip
        headers = {"accept": "text/event-stream"} | tenant.headers
        if after:
            headers["last-event-id"] = after
        url = f"{self.gateways[gateway]}/v1/requests/{request_id}/events"
        reader = _Reader(since_s=since_s)
        seen = await self._finish(
            op, self._session.get(url, headers=headers), reader, is_stream=True
        )
        if not seen.request_id:
            seen.request_id = request_id
        return seen

    async def cancel(self, request_id: str, *, tenant: Tenant, gateway: str) -> Seen:
        """Ask that a request be cancelled."""
        return await self._simply("cancel", "POST", request_id, tenant, gateway, path="/cancel")

    async def look(self, request_id: str, *, tenant: Tenant, gateway: str) -> Seen:
        """Ask how a request is; the log's ``body`` is its status."""
        return await self._simply("look", "GET", request_id, tenant, gateway, path="")

    async def _simply(
        self, kind: str, method: str, request_id: str, tenant: Tenant, gateway: str, *, path: str
    ) -> Seen:
        op = self._log.invoke(kind=kind, gateway=gateway, tenant=tenant.name, target=request_id)
        url = f"{self.gateways[gateway]}/v1/requests/{request_id}{path}"
        call = self._session.request(method, url, headers=tenant.headers)
        return await self._finish(op, call, _Reader(status_only=True), is_stream=False)

    async def _finish(self, op: int, call: Any, reader: "_Reader", *, is_stream: bool) -> Seen:
        """Read an answer, whatever becomes of it, and log it."""
        seen = reader.seen
        try:
            async with asyncio.timeout(PATIENCE_S), call as response:
                await reader.read(response, is_stream=is_stream)
        except aiohttp.ClientConnectorError:
            seen.error_code = "refused_connection"
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            seen.is_cut = True
        self._log.complete(op, seen.verdict(is_stream=is_stream), **seen.fields())
        return seen


class _Reader:
    """Reads one answer."""

    def __init__(
        self,
        *,
        leave_after: int = 0,
        on_event: Callable[[Seen], None] | None = None,
        since_s: float = 0.0,
        status_only: bool = False,
    ) -> None:
        self.seen = Seen(events=[], last_s=since_s)
        self._leave_after = leave_after
        self._on_event = on_event
        self._status_only = status_only
        self._id = ""

    async def read(self, response: aiohttp.ClientResponse, *, is_stream: bool) -> None:
        """Take everything, or leave."""
        seen = self.seen
        seen.status = response.status
        seen.request_id = response.headers.get("x-request-id", "")
        seen.retry_after = response.headers.get("retry-after", "")
        is_events = response.headers.get("content-type", "").startswith("text/event-stream")
        if not (is_stream and is_events):
            self._take_whole(await response.text())
            return
        async for line in response.content:
            self._take(line.decode())
            if self._leave_after and len(seen.events) >= self._leave_after and not seen.is_over:
                seen.is_left = True
                response.close()
                return

    def _take_whole(self, body: str) -> None:
        document = json.loads(body)
        error = document.get("error")
        if self._status_only and not error:
            body = str(document.get("status", ""))
        self.seen.body = body
        if error and self.seen.status >= 400:
            self.seen.error_code = error.get("code") or error.get("type") or "error"

    def _take(self, line: str) -> None:
        seen = self.seen
        now_s = time.time()
        if line.startswith("id:"):
            self._id = line[3:].strip()
        elif line.startswith("data:"):
            data = line[5:].strip()
            seen.events.append({"data": data, "id": self._id})
            self._id = ""
            if seen.last_s:
                seen.longest_gap_s = max(seen.longest_gap_s, now_s - seen.last_s)
            seen.last_s = now_s
            if data.startswith('{"error"'):
                seen.error_code = json.loads(data)["error"].get("code") or "error"
            if self._on_event is not None:
                self._on_event(seen)
