"""``GET /v1/requests/{id}``: what became of a request."""

from collections.abc import Mapping
from typing import Any

import msgspec

from services.gateway.asgi import Request, Send, rendered_headers, send_error, send_whole
from services.gateway.decide import authenticate
from services.shared.domain.configuration import VirtualKey
from services.shared.domain.errors import PublicError, Unavailable
from services.shared.domain.events import InferenceFinished
from services.shared.domain.ids import origin_from_request_id
from services.shared.ports.record_finder import RecordFinder

_UNKNOWN = PublicError(
    code="not_found", message="There is no such request, or it is not yours.", param="id"
)
_AWAY = PublicError(
    code="upstream_unavailable",
    message="The log cannot be read now. Try again in a moment.",
    retry_after_ms=2000,
)


class RequestsApi:
    """Answers for the requests of the caller's own tenant."""

    def __init__(self, *, finder: RecordFinder, keys: Mapping[str, VirtualKey]) -> None:
        """Use a finder."""
        self._finder = finder
        self._keys = keys

    async def get(self, request: Request, send: Send) -> None:
        """Tell the state of a request, and its answer once there is one."""
        key = authenticate(request.all_of(b"authorization"), self._keys)
        if isinstance(key, PublicError):
            await send_error(send, key, request_id=request.id)
            return
        found = await self._find(request.parameters[0], key.tenant)
        if isinstance(found, PublicError):
            await send_error(send, found, request_id=request.id)
            return
        headers = rendered_headers({"x-request-id": request.id})
        await send_whole(send, msgspec.json.encode(found), headers=headers)

    async def _find(self, request_id: str, tenant: str) -> dict[str, Any] | PublicError:
        if origin_from_request_id(request_id) is None:
            return _UNKNOWN
        try:
            finished = await self._finder.find_terminal(request_id)
            if finished is not None:
                return described(finished) if finished.tenant == tenant else _UNKNOWN
            missed = await self._finder.find_miss(request_id)
        except Unavailable:
            return _AWAY
        if missed is None or missed.request.tenant != tenant:
            return _UNKNOWN
        return {
            "id": request_id,
            "object": "millrace.request",
            "status": "in_progress",
            "model": missed.request.model,
            "accepted_at": missed.request.accepted_at,
            "deadline_at": missed.request.deadline_at,
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
