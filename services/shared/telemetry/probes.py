"""``/livez``, ``/readyz``, ``/health`` and ``/metrics`` of a service, on a port of its own.

A thread of its own answers, so that a busy event loop is still seen; it only reads.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import msgspec
from prometheus_client import CollectorRegistry

from services.shared.telemetry.metrics import exposition

_READ_TIMEOUT_S = 5
_Start = Callable[..., Any]


class _Handler(WSGIRequestHandler):
    timeout = _READ_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's name
        """Probes are too many to log."""


def serve_probes(  # noqa: PLR0913  # named, and all of one server
    *,
    host: str,
    port: int,
    registry: CollectorRegistry,
    is_live: Callable[[], bool],
    is_ready: Callable[[], bool],
    parts: Mapping[str, Callable[[], str]] | None = None,
) -> int:
    """Serve the probes until the process ends.

    Args:
        host: Where they are served.
        port: Likewise; 0 = a free one.
        registry: The metrics.
        is_live: Whether the process turns.
        is_ready: Whether it works.
        parts: Parts of it by name, each with what says how it is, for people.

    Returns:
        The port: ``port``, or a free one where that was 0.
    """

    def app(environ: dict[str, Any], start_response: _Start) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                body, status, kind = exposition(registry), "200 OK", "text/plain; version=0.0.4"
            case "/livez":
                body, status, kind = _verdict(holds=is_live())
            case "/readyz":
                body, status, kind = _verdict(holds=is_ready())
            case "/health":
                body, status, kind = _health(parts or {}, is_ready=is_ready())
            case _:
                body, status, kind = b"not found\n", "404 Not Found", "text/plain"
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    server = make_server(host, port, app, server_class=WSGIServer, handler_class=_Handler)
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
    return server.server_port


def _health(parts: Mapping[str, Callable[[], str]], *, is_ready: bool) -> tuple[bytes, str, str]:
    _, status, _ = _verdict(holds=is_ready)
    components = {"stage": "ok" if is_ready else "not ready"}
    components |= {name: say() for name, say in sorted(parts.items())}
    document = {"status": "ok" if is_ready else "degraded", "components": components}
    return msgspec.json.encode(document), status, "application/json"


def _verdict(*, holds: bool) -> tuple[bytes, str, str]:
    if holds:
        return b"ok\n", "200 OK", "text/plain"
    return b"not now\n", "503 Service Unavailable", "text/plain"
