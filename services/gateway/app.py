"""Routes: which path is answered by whom."""

from collections.abc import Callable, Mapping
from urllib.parse import unquote

import msgspec

from services.gateway.asgi import BodyLost, Handler, Receive, Request, Scope, Send, send_error
from services.shared.domain.errors import PublicError

_MAX_PARAMETER = 256
_READ_LIKE = {"HEAD": "GET"}
"""Methods answered like another one; the front door leaves the body away."""


class Routes(msgspec.Struct, frozen=True, kw_only=True):
    """Handlers by method.

    Attributes:
        exact: By whole path.
        templates: By path with one parameter in braces, which may hold slashes; the first that
            fits is taken.
    """

    exact: Mapping[str, Mapping[str, Handler]]
    templates: Mapping[str, Mapping[str, Handler]]


class GatewayApp:
    """An ASGI application; the front door has bounded and checked what reaches it."""

    def __init__(self, routes: Routes, *, new_request_id: Callable[[], str]) -> None:
        """Use a route table."""
        self._exact = routes.exact
        self._templates = [
            (template.partition("{")[0], template.partition("}")[2], handlers)
            for template, handlers in routes.templates.items()
        ]
        self._new_request_id = new_request_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive, request_id=self._new_request_id())
        handlers = self._find(request)
        if handlers is None:
            message = "There is nothing at this path. GET /openapi.json lists what there is."
            await send_error(
                send, PublicError(code="not_found", message=message), request_id=request.id
            )
            return
        method: str = scope["method"]
        handler = handlers.get(_READ_LIKE.get(method, method))
        if handler is None:
            allowed = ", ".join(sorted(_methods(handlers)))
            error = PublicError(
                code="method_not_allowed", message=f"This path takes {allowed}, not this method."
            )
            await send_error(send, error, request_id=request.id, headers={"allow": allowed})
            return
        try:
            await handler(request, send)
        except BodyLost:
            return

    def _find(self, request: Request) -> Mapping[str, Handler] | None:
        path = request.scope["path"]
        handlers = self._exact.get(path)
        if handlers is not None:
            return handlers
        for before, behind, handlers in self._templates:
            size = len(path) - len(before) - len(behind)
            if 0 < size <= _MAX_PARAMETER and path.startswith(before) and path.endswith(behind):
                request.parameters = (unquote(path[len(before) : len(before) + size]),)
                return handlers
        return None


def _methods(handlers: Mapping[str, Handler]) -> set[str]:
    """Every method that a path takes."""
    return {*handlers, *(name for name, like in _READ_LIKE.items() if like in handlers)}
