"""``/v1/requests/{id}``: what became of a request, and cancelling it."""

from typing import Any

import msgspec

from services.gateway.asgi import Request, Send, rendered_headers, send_error, send_whole
from services.gateway.decide import authenticate
from services.gateway.desk import ASKED, Desk
from services.gateway.event_stream import HEADERS_WITHIN_S
from services.gateway.own_requests import AWAY, UNKNOWN, OwnRequests
from services.gateway.waiter import Facts
from services.shared.domain.cancellations import CANCEL
from services.shared.domain.errors import PublicError, Unavailable
from services.shared.domain.events import CacheMissed, ControlRequested, InferenceFinished
from services.shared.domain.ids import origin_from_request_id


class RequestsApi:
    """Answers for the requests of the caller's own tenant."""

    def __init__(self, desk: Desk, own: OwnRequests) -> None:
        """Use a desk."""
        self._desk = desk
        self._own = own

    async def get(self, request: Request, send: Send) -> None:
        """Tell the state of a request, and its answer once there is one."""
        key = authenticate(request.all_of(b"authorization"), self._desk.keys)
        if isinstance(key, PublicError):
            await send_error(send, key, request_id=request.id)
            return
        found = await self._find(request.parameters[0], key.tenant)
        if isinstance(found, PublicError):
            await send_error(send, found, request_id=request.id)
            return
        await _send_state(send, request.parameters[0], found, request_id=request.id)

    async def cancel(self, request: Request, send: Send) -> None:
        """End a running request; 202 says that it was asked to end, 200 that it had ended."""
        key = authenticate(request.all_of(b"authorization"), self._desk.keys)
        if isinstance(key, PublicError):
            await send_error(send, key, request_id=request.id)
            return
        found = await self._find(request.parameters[0], key.tenant)
        status = 200
        if isinstance(found, CacheMissed | Facts):
            status = 202
            found = await self._cancelled(request.parameters[0], found, key.tenant)
        if isinstance(found, PublicError):
            await send_error(send, found, request_id=request.id)
            return
        await _send_state(send, request.parameters[0], found, request_id=request.id, status=status)

    async def _find(
        self, request_id: str, tenant: str
    ) -> InferenceFinished | CacheMissed | Facts | PublicError:
        """What the records say of a request, else what the first of its chunks says."""
        found = await self._own.find(request_id, tenant)
        streams = self._desk.streams
        if found is not UNKNOWN or not streams.can_find(request_id):
            return found
        waiter = streams.attach(request_id)
        try:
            facts = await waiter.known(timeout_s=HEADERS_WITHIN_S)
        except TimeoutError:
            return AWAY
        finally:
            streams.detach(waiter)
        return UNKNOWN if facts is None or facts.tenant != tenant else facts

    async def _cancelled(
        self, request_id: str, running: CacheMissed | Facts, tenant: str
    ) -> CacheMissed | Facts | PublicError:
        control = ControlRequested(
            action=CANCEL,
            request_id=request_id,
            tenant=tenant,
            at=int(self._desk.clock.now_ms()),
            reason=ASKED,
        )
        try:
            await self._desk.controls.publish(control)
        except Unavailable:
            return AWAY
        return running


async def _send_state(
    send: Send,
    asked_for: str,
    found: InferenceFinished | CacheMissed | Facts,
    *,
    request_id: str,
    status: int = 200,
) -> None:
    match found:
        case CacheMissed():
            state = described_running(found)
        case Facts():
            state = described_joined(asked_for, found)
        case _:
            state = described(found)
    headers = rendered_headers({"x-request-id": request_id})
    await send_whole(send, msgspec.json.encode(state), status=status, headers=headers)


def described_running(missed: CacheMissed) -> dict[str, Any]:
    """A request under way as JSON."""
    return {
        "id": missed.request.request_id,
        "object": "millrace.request",
        "status": "in_progress",
        "model": missed.request.model,
        "accepted_at": missed.request.accepted_at,
        "deadline_at": missed.request.deadline_at,
    }


def described_joined(request_id: str, facts: Facts) -> dict[str, Any]:
    """A request that shares another one's call as JSON; its own record holds no more yet."""
    origin = origin_from_request_id(request_id)
    return {
        "id": request_id,
        "object": "millrace.request",
        "status": "in_progress",
        "accepted_at": 0 if origin is None else origin.accepted_at_ms,
        "deadline_at": facts.deadline_at,
    }


def described(finished: InferenceFinished) -> dict[str, Any]:
    """A finished request as JSON: state, where the time and the money went, the answer."""
    return {
        "id": finished.request_id,
        "object": "millrace.request",
        "status": finished.outcome,
        "operation": finished.operation,
        "model": finished.model,
        "stream": finished.stream,
        "accepted_at": finished.accepted_at,
        "finished_at": finished.finished_at,
        "cache": finished.cache,
        "route": finished.route,
        "calls": finished.calls,
        "usage": finished.usage,
        "cost_nanousd": finished.cost_nanousd,
        "hops": finished.hops,
        "error": finished.error,
        "response": msgspec.Raw(finished.response) if finished.response else None,
    }
