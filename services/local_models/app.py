"""The local models as an ASGI application: routes, bounds, errors."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.local_models.decide import (
    MODEL,
    objection_to_lengths,
    request_from_body,
    unknown_model,
)
from services.local_models.metrics import LocalModelsMetrics
from services.local_models.wire import embeddings_body, model_body, models_body
from services.shared.domain.errors import PublicError, Unavailable, error_document
from services.shared.ports.clock import Clock
from services.shared.ports.encoder import Encoder

_MOST_BODY_BYTES = 8 * 1024 * 1024
_BODY_S = 30.0
_RETRY_AFTER_MS = 1_000
_JSON = "application/json"


class EmbeddingModel(Encoder, Protocol):
    """An encoder that also counts, as usage is part of an answer."""

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Number of tokens of each text, uncut."""
        ...


class _RefusedError(Exception):
    """The request cannot be answered; carries the error that its caller sees."""

    def __init__(self, error: PublicError) -> None:
        super().__init__(error.message)
        self.error = error


class LocalModels:
    """Answers requests; loads the model when the first one comes."""

    def __init__(
        self, load: Callable[[], EmbeddingModel], metrics: LocalModelsMetrics, clock: Clock
    ) -> None:
        """Start without a model.

        Args:
            load: Loads the model, in a thread; raises ``Unavailable`` where there is none.
            metrics: Told of every answer.
            clock: Measures durations.
        """
        self._load = load
        self._metrics = metrics
        self._clock = clock
        self._model: EmbeddingModel | None = None
        self._loading = asyncio.Lock()

    async def embeddings(self, request: Request) -> Response:
        """``POST /v1/embeddings``."""
        body = await _body(request)
        started_s = self._clock.monotonic_s()
        try:
            response = Response(await self._answer(body), media_type=_JSON)
        except _RefusedError as error:
            response = _refusal(error.error)
        duration_s = self._clock.monotonic_s() - started_s
        self._metrics.answered(response.status_code, duration_s=duration_s)
        return response

    async def _answer(self, body: bytes) -> bytes:
        asked = request_from_body(body)
        if isinstance(asked, PublicError):
            raise _RefusedError(asked)
        try:
            model = await self._loaded()
            counts = await model.count_tokens(asked.texts)
            if error := objection_to_lengths(counts):
                raise _RefusedError(error)
            vectors = await model.encode(asked.texts)
        except Unavailable as error:
            raise _RefusedError(_overloaded(str(error))) from error
        self._metrics.encoded(len(counts), tokens=sum(counts))
        return embeddings_body(vectors, encoding_format=asked.encoding_format, tokens=sum(counts))

    async def _loaded(self) -> EmbeddingModel:
        async with self._loading:
            if self._model is None:
                self._model = await asyncio.to_thread(self._load)
        return self._model


def make_app(
    load: Callable[[], EmbeddingModel], *, metrics: LocalModelsMetrics, clock: Clock
) -> Starlette:
    """Make the ASGI application; see ``LocalModels``."""
    models = LocalModels(load, metrics, clock)

    async def alive(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def show_metrics(_: Request) -> Response:
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4")

    return Starlette(
        routes=[
            Route("/v1/embeddings", models.embeddings, methods=["POST"]),
            Route("/v1/models", _models),
            Route("/v1/models/{model:path}", _one_model),
            Route("/livez", alive),
            Route("/readyz", alive),
            Route("/metrics", show_metrics),
        ],
        exception_handlers={
            _RefusedError: _refused,
            HTTPException: _http_error,
            Exception: _unexpected_error,
        },
    )


async def _models(_: Request) -> Response:
    return Response(models_body(), media_type=_JSON)


async def _one_model(request: Request) -> Response:
    if request.path_params["model"] != MODEL:
        return _refusal(unknown_model())
    return Response(model_body(), media_type=_JSON)


async def _body(request: Request) -> bytes:
    """Read a bounded body."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MOST_BODY_BYTES:
                    limit = f"The body is longer than {_MOST_BODY_BYTES} bytes."
                    raise _RefusedError(PublicError(code="body_too_large", message=limit))
    except (TimeoutError, ClientDisconnect):
        late = PublicError(code="request_timeout", message="The body did not come whole.")
        raise _RefusedError(late) from None
    return bytes(body)


def _overloaded(why: str) -> PublicError:
    return PublicError(
        code="server_is_overloaded", message=f"{why}.", retry_after_ms=_RETRY_AFTER_MS
    )


def _refusal(error: PublicError) -> Response:
    headers = {"retry-after": str(error.retry_after_ms // 1000)} if error.retry_after_ms else None
    return Response(error_document(error), error.meaning.status, headers, media_type=_JSON)


async def _refused(_: Request, error: Exception) -> Response:
    if isinstance(error, _RefusedError):
        return _refusal(error.error)
    raise error


async def _http_error(_: Request, error: Exception) -> Response:
    is_method = isinstance(error, HTTPException) and error.status_code == 405
    code = "method_not_allowed" if is_method else "not_found"
    return _refusal(PublicError(code=code, message="There is nothing here by this method."))


async def _unexpected_error(_: Request, __: Exception) -> Response:
    """Answer for a mistake of ours; the server logs it."""
    return _refusal(PublicError(code="internal_error", message="Internal server error."))
