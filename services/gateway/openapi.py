"""The OpenAPI document of what is served, at ``/openapi.json``."""

from typing import Any

import msgspec

from services.gateway import openapi_schemas as schemas
from services.gateway.asgi import JSON, Handler, Request, Send, send_whole
from services.gateway.openapi_schemas import Schema
from services.shared.domain.errors import ERRORS

_REQUEST_ID = {"x-request-id": {"required": True, "schema": {"type": "string"}}}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": (
        "Names the request for 24 hours: sent again, with the same body, it gets the same answer, "
        "marked 'idempotency-replayed: true'. Bare, or as a quoted string (RFC 8941)."
    ),
    "schema": {
        "type": "string",
        "pattern": r'^([!#-~][!-~]{0,254}|"([!#-\[\]-~]|\\["\\]){1,255}")$',
    },
}
_STATUSES = sorted({str(meaning.status) for meaning in ERRORS.values()})


def openapi_document() -> dict[str, Any]:
    """The document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Millrace",
            "version": "1",
            "description": "OpenAI's API over an event-streaming pipeline.",
        },
        "security": [{"key": []}],
        "paths": {
            "/v1/chat/completions": _post(
                "createChatCompletion", "Chat.", schemas.CHAT, schemas.CHAT_ANSWER, streams=True
            ),
            "/v1/completions": _post(
                "createCompletion",
                "Complete texts.",
                schemas.COMPLETION,
                schemas.COMPLETION_ANSWER,
                streams=True,
            ),
            "/v1/embeddings": _post(
                "createEmbedding", "Embed texts.", schemas.EMBEDDINGS, schemas.EMBEDDINGS_ANSWER
            ),
            "/v1/models": _get("listModels", "Models that the key may use.", schemas.MODELS),
            "/v1/models/{model}": _get("retrieveModel", "One model.", schemas.MODEL, "model"),
            "/v1/requests/{id}": _get(
                "retrieveRequest", "State and answer of a request.", schemas.REQUEST, "id"
            ),
            "/v1/requests/{id}/events": _events(
                "followRequest", "The events of a streamed request, from its first or any on."
            ),
            "/v1/requests/{id}/cancel": _cancel("cancelRequest", "End a running request."),
            "/v1/requests/{id}/feedback": _feedback(
                "giveFeedback", "Say how good the answer to a request was."
            ),
            "/livez": _probe("livez", "The process turns.", "text/plain"),
            "/readyz": _probe("readyz", "Requests can be accepted.", "text/plain"),
            "/health": _probe("health", "Each component.", JSON),
            "/metrics": _probe("metrics", "Prometheus' text format.", "text/plain"),
            "/openapi.json": _probe("openapi", "This document.", JSON),
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": schemas.ERROR},
        },
    }


def openapi_handler() -> Handler:
    """Serve the document."""
    body = msgspec.json.encode(openapi_document())

    async def handle(_request: Request, send: Send) -> None:
        await send_whole(send, body)

    return handle


def _post(
    name: str, summary: str, asked: Schema, answered: Schema, *, streams: bool = False
) -> Schema:
    answers: Schema = {JSON: {"schema": answered}}
    if streams:
        answers["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "parameters": [_IDEMPOTENCY_KEY],
            "requestBody": {"required": True, "content": {JSON: {"schema": asked}}},
            "responses": _responses(answers),
        }
    }


def _get(name: str, summary: str, answered: Schema, parameter: str = "") -> Schema:
    operation: Schema = {
        "operationId": name,
        "summary": summary,
        "responses": _responses({JSON: {"schema": answered}}),
    }
    if parameter:
        operation["parameters"] = [
            {"name": parameter, "in": "path", "required": True, "schema": {"type": "string"}}
        ]
    return {"get": operation}


_ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


def _events(name: str, summary: str) -> Schema:
    cursor = {
        "required": False,
        "schema": {"type": "string"},
        "description": "The last id that was got, or how many events were.",
    }
    parameters = [
        _ID,
        {"name": "Last-Event-ID", "in": "header", **cursor},
        {"name": "starting_after", "in": "query", **cursor},
    ]
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "parameters": parameters,
            "responses": _responses({"text/event-stream": {"schema": {"type": "string"}}}),
        }
    }


def _cancel(name: str, summary: str) -> Schema:
    answered = _responses({JSON: {"schema": schemas.REQUEST}})
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "parameters": [_ID],
            "responses": {**answered, "202": answered["200"]},
        }
    }


def _feedback(name: str, summary: str) -> Schema:
    body = {"required": True, "content": {JSON: {"schema": schemas.FEEDBACK}}}
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "parameters": [_ID],
            "requestBody": body,
            "responses": _responses({JSON: {"schema": schemas.FEEDBACK_ANSWER}}),
        }
    }


def _responses(answers: Schema) -> Schema:
    error = {
        "description": "OpenAI's error object.",
        "headers": _REQUEST_ID,
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    answer = {"description": "The answer.", "headers": _REQUEST_ID, "content": answers}
    return {"200": answer, **dict.fromkeys(_STATUSES, error)}


def _probe(name: str, summary: str, media_type: str) -> Schema:
    content: Schema = {media_type: {"schema": {}}}
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "security": [],
            "responses": {
                "200": {"description": summary, "content": content},
                "503": {"description": "Not now.", "content": content},
            },
        }
    }
