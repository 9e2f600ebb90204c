"""The registry as an ASGI application: routes, errors, probes."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, TypeAlias

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.schema_registry import refusals
from services.schema_registry.endpoints import Answer, Endpoints
from services.schema_registry.http_requests import RefusedError
from services.schema_registry.metrics import RegistryMetrics
from services.schema_registry.refusals import Refusal
from services.schema_registry.registry import Registry

_MEDIA_TYPE: Final = "application/vnd.schemaregistry.v1+json"

Handler: TypeAlias = Callable[[Endpoints, Request], Awaitable[Answer]]

_ENDPOINTS: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "/", Endpoints.root),
    ("GET", "/schemas/types", Endpoints.schema_types),
    ("GET", "/schemas/ids/{id}", Endpoints.schema_by_id),
    ("GET", "/schemas/ids/{id}/schema", Endpoints.raw_schema_by_id),
    ("GET", "/schemas/ids/{id}/subjects", Endpoints.subjects_of_id),
    ("GET", "/schemas/ids/{id}/versions", Endpoints.versions_of_id),
    ("GET", "/subjects", Endpoints.subjects),
    ("POST", "/subjects/{subject}", Endpoints.look_up),
    ("DELETE", "/subjects/{subject}", Endpoints.delete_subject),
    ("GET", "/subjects/{subject}/versions", Endpoints.versions),
    ("POST", "/subjects/{subject}/versions", Endpoints.register),
    ("GET", "/subjects/{subject}/versions/{version}", Endpoints.version),
    ("DELETE", "/subjects/{subject}/versions/{version}", Endpoints.delete_version),
    ("GET", "/subjects/{subject}/versions/{version}/schema", Endpoints.raw_version),
    ("GET", "/subjects/{subject}/versions/{version}/referencedby", Endpoints.referenced_by),
    ("POST", "/compatibility/subjects/{subject}/versions", Endpoints.check_all),
    ("POST", "/compatibility/subjects/{subject}/versions/{version}", Endpoints.check_one),
    ("GET", "/config", Endpoints.level),
    ("PUT", "/config", Endpoints.set_level),
    ("DELETE", "/config", Endpoints.erase_level),
    ("GET", "/config/{subject}", Endpoints.level),
    ("PUT", "/config/{subject}", Endpoints.set_level),
    ("DELETE", "/config/{subject}", Endpoints.erase_level),
    ("GET", "/mode", Endpoints.mode),
    ("GET", "/mode/{subject}", Endpoints.mode),
)


def make_app(registry: Registry, metrics: RegistryMetrics) -> Starlette:
    """Make the ASGI application of a registry."""
    endpoints = Endpoints(registry)

    def route(method: str, path: str, handler: Handler) -> Route:
        async def serve(request: Request) -> Response:
            answer = await _answer(registry, endpoints, handler, request)
            response = _response(answer)
            metrics.count_request(method=method, path=path, status=response.status_code)
            return response

        return Route(path, serve, methods=[method])

    async def live(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        if registry.is_ready:
            return PlainTextResponse("ok\n")
        return PlainTextResponse("the log was not read yet\n", status_code=503)

    async def show_metrics(_: Request) -> Response:
        return Response(metrics.exposition(registry.state), media_type="text/plain; version=0.0.4")

    return Starlette(
        routes=[
            *(route(method, path, handler) for method, path, handler in _ENDPOINTS),
            Route("/livez", live),
            Route("/readyz", ready),
            Route("/metrics", show_metrics),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _unexpected_error},
    )


async def _answer(
    registry: Registry, endpoints: Endpoints, handler: Handler, request: Request
) -> Answer:
    if not registry.is_ready:
        return refusals.store_unavailable("the log was not read yet")
    try:
        return await handler(endpoints, request)
    except RefusedError as error:
        return error.refusal


def _response(answer: Answer) -> Response:
    status = 200
    if isinstance(answer, Refusal):
        status = answer.status
        answer = {"error_code": answer.error_code, "message": answer.message}
    return Response(msgspec.json.encode(answer), status, media_type=_MEDIA_TYPE)


def _http_error(_: Request, error: Exception) -> Response:
    """Answer for paths and methods that there are none of."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _response(Refusal(status, f"HTTP {status} {HTTPStatus(status).phrase}"))


def _unexpected_error(_: Request, __: Exception) -> Response:
    """Answer for a mistake of ours; the server logs it."""
    return _response(Refusal(50001, "Internal server error"))
