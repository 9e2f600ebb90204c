"""The OpenAPI document of what is served, at ``/openapi.json``."""

from typing import Any

import msgspec

from services.gateway.asgi import Handler, Request, Send, send_whole

_ERROR = {
    "description": "OpenAI's error object.",
    "headers": {"x-request-id": {"schema": {"type": "string"}}},
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
_ERROR_STATUSES = ("400", "401", "404", "408", "413", "415", "429", "500", "502", "503", "504")
_MESSAGE = {
    "type": "object",
    "required": ["role"],
    "properties": {
        "role": {
            "type": "string",
            "enum": ["system", "developer", "user", "assistant", "tool", "function"],
        },
        "content": {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "object"}},
                {"type": "null"},
            ]
        },
    },
}
_CHAT = {
    "type": "object",
    "required": ["model", "messages"],
    "properties": {
        "model": {"type": "string", "minLength": 1, "maxLength": 256},
        "messages": {"type": "array", "minItems": 1, "maxItems": 10_000, "items": _MESSAGE},
        "stream": {"type": "boolean"},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "max_completion_tokens": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
        "n": {"type": "integer", "minimum": 1, "maximum": 8},
    },
}
_COMPLETION = {
    "type": "object",
    "required": ["model", "prompt"],
    "properties": {
        "model": {"type": "string", "minLength": 1, "maxLength": 256},
        "prompt": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
        "stream": {"type": "boolean"},
        "max_tokens": {"type": "integer", "minimum": 1, "maximum": 1_000_000},
    },
}
_EMBEDDINGS = {
    "type": "object",
    "required": ["model", "input"],
    "properties": {
        "model": {"type": "string", "minLength": 1, "maxLength": 256},
        "input": {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 2048,
                    "items": {"type": "string", "minLength": 1},
                },
            ]
        },
        "encoding_format": {"type": "string", "enum": ["float", "base64"]},
    },
}


def openapi_document() -> dict[str, Any]:
    """The document."""
    streamed = {"text/event-stream": {"schema": {"type": "string"}}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Millrace",
            "version": "1",
            "description": "OpenAI's API over an event-streaming pipeline.",
        },
        "security": [{"key": []}],
        "paths": {
            "/v1/chat/completions": {
                "post": _post("createChatCompletion", "A chat completion.", _CHAT, streamed)
            },
            "/v1/completions": {
                "post": _post("createCompletion", "A text completion.", _COMPLETION, streamed)
            },
            "/v1/embeddings": {
                "post": _post("createEmbedding", "Embeddings of texts.", _EMBEDDINGS, {})
            },
            "/v1/models": {"get": _get("listModels", "Models that the key may use.")},
            "/v1/models/{model}": {"get": _get("retrieveModel", "One model.", "model")},
            "/v1/requests/{id}": {
                "get": _get("retrieveRequest", "State and answer of a request.", "id")
            },
            "/livez": {"get": _probe("livez", "The process turns.")},
            "/readyz": {"get": _probe("readyz", "Requests can be accepted.")},
            "/health": {"get": _probe("health", "Each component.")},
            "/metrics": {"get": _probe("metrics", "Prometheus' text format.")},
            "/openapi.json": {"get": _probe("openapi", "This document.")},
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "properties": {
                        "error": {
                            "type": "object",
                            "required": ["message", "type", "param", "code"],
                            "properties": {
                                "message": {"type": "string"},
                                "type": {"type": "string"},
                                "param": {"type": ["string", "null"]},
                                "code": {"type": ["string", "null"]},
                            },
                        }
                    },
                }
            },
        },
    }


def openapi_handler() -> Handler:
    """Serve the document."""
    body = msgspec.json.encode(openapi_document())

    async def handle(_request: Request, send: Send) -> None:
        await send_whole(send, body)

    return handle


def _post(name: str, summary: str, schema: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": _responses(more),
    }


def _get(name: str, summary: str, parameter: str = "") -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "responses": _responses({}),
    }
    if parameter:
        operation["parameters"] = [
            {"name": parameter, "in": "path", "required": True, "schema": {"type": "string"}}
        ]
    return operation


def _probe(name: str, summary: str) -> dict[str, Any]:
    kinds = {"text/plain": {"schema": {"type": "string"}}, "application/json": {"schema": {}}}
    return {
        "operationId": name,
        "summary": summary,
        "security": [],
        "responses": {
            "200": {"description": summary, "content": kinds},
            "503": {"description": "Not now.", "content": kinds},
        },
    }


def _responses(more: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}, **more}
    answer = {
        "description": "The answer.",
        "headers": {"x-request-id": {"schema": {"type": "string"}}},
        "content": content,
    }
    return {"200": answer, **dict.fromkeys(_ERROR_STATUSES, _ERROR)}
