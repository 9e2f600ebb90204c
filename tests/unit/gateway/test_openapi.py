"""The served OpenAPI document and the routes are one."""

import re
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from services.gateway.app import GatewayApp
from services.gateway.claims import idempotency_key
from services.gateway.health_api import HealthApi
from services.gateway.openapi import openapi_document
from services.gateway.routes import routes
from services.shared.domain.admission.admit import FORMS, Admitted, admit
from services.shared.domain.admission.limits import Limits
from services.shared.domain.errors import ERRORS
from services.shared.domain.events import Operation
from tests.support.fake_clock import FakeClock
from tests.support.gateway_desk import (
    KEY,
    MODELS,
    REQUEST_ID,
    FakeFinder,
    FakePublisher,
    Sent,
    desk_of,
    http_request,
)

TABLE = routes(
    desk_of(FakeClock(), FakePublisher()),
    models=MODELS,
    finder=FakeFinder(),
    health=HealthApi(registry=CollectorRegistry(), checks={}),
)
PATHS = openapi_document()["paths"]
ASKS = {
    Operation.CHAT: "/v1/chat/completions",
    Operation.TEXT_COMPLETION: "/v1/completions",
    Operation.EMBEDDINGS: "/v1/embeddings",
}


def documented() -> set[tuple[str, str]]:
    """Method and path of every documented operation."""
    return {(method.upper(), path) for path, item in PATHS.items() for method in item}


def test_every_route_is_documented_and_every_documented_one_served() -> None:
    """Neither a hidden endpoint nor a promised one that is not there."""
    served = {
        (method, path)
        for paths in (TABLE.exact, TABLE.templates)
        for path, handlers in paths.items()
        for method in handlers
    }
    assert documented() == served


async def test_the_document_is_served_as_it_is() -> None:
    """Without a key, as JSON."""
    sent = Sent()
    request = http_request("/openapi.json", method="GET")
    app = GatewayApp(TABLE, new_request_id=lambda: REQUEST_ID)
    await app(request.scope, request.receive, sent)
    assert (sent.status, sent.document) == (200, openapi_document())


@pytest.mark.parametrize(("path", "item"), PATHS.items())
async def test_what_needs_a_key_is_documented_so(path: str, item: dict[str, Any]) -> None:
    """A path answers 401 without a key exactly when the document says that it wants one."""
    ((method, operation),) = item.items()
    sent = Sent()
    request = http_request(path.replace("{", "").replace("}", ""), method=method.upper())
    app = GatewayApp(TABLE, new_request_id=lambda: REQUEST_ID)
    await app(request.scope, request.receive, sent)
    wants_key = operation.get("security") != []
    assert (sent.status == 401) == wants_key


def test_every_status_is_documented() -> None:
    """Whatever error there is may be the answer to a request."""
    statuses = {str(meaning.status) for meaning in ERRORS.values()} | {"200"}
    for path in ASKS.values():
        assert set(PATHS[path]["post"]["responses"]) == statuses


@pytest.mark.parametrize("operation", ASKS)
def test_documented_fields_are_known_to_admission(operation: Operation) -> None:
    """The document invents no field, and requires what admission requires."""
    body = PATHS[ASKS[operation]]["post"]["requestBody"]["content"]["application/json"]["schema"]
    form = FORMS[operation]
    assert set(body["properties"]) <= set(form.fields)
    assert tuple(body["required"]) == form.required


@pytest.mark.parametrize("operation", ASKS)
def test_null_is_documented_where_it_is_accepted(operation: Operation) -> None:
    """An optional field may be null, and the document says so of each."""
    body = PATHS[ASKS[operation]]["post"]["requestBody"]["content"]["application/json"]["schema"]
    least: dict[str, Any] = {"model": "small", "input": "x", "messages": [{"role": "user"}]}
    least["messages"][0]["content"] = "x"
    required = {name: least[name] for name in body["required"]}
    for name, schema in body["properties"].items():
        if name in required:
            continue
        assert isinstance(
            admit(operation, msgspec.json.encode({**required, name: None}), limits=Limits()),
            Admitted,
        )
        assert "null" in str(schema) or None in schema.get("enum", ()), name


async def test_a_key_is_enough_for_every_get() -> None:
    """With one, none of them answers 401."""
    app = GatewayApp(TABLE, new_request_id=lambda: REQUEST_ID)
    for method, path in documented():
        if method == "GET":
            sent = Sent()
            headers = {"authorization": f"Bearer {KEY}"}
            request = http_request(path.replace("{", "").replace("}", ""), headers=headers)
            request.scope["method"] = method
            await app(request.scope, request.receive, sent)
            assert sent.status in {200, 404}


@pytest.mark.parametrize(
    "value", ["k", "a" * 255, "a" * 256, "", "a b", '"k"', '"k', r'"a\"b"', r'"a\b"', "é", '"a b"']
)
def test_the_documented_idempotency_keys_are_the_accepted_ones(value: str) -> None:
    """The pattern of the document takes what the gateway takes."""
    (parameter,) = PATHS["/v1/chat/completions"]["post"]["parameters"]
    documented_key = re.search(parameter["schema"]["pattern"], value) is not None
    accepted_key = isinstance(idempotency_key([value.encode("latin-1")]), str)
    assert documented_key == accepted_key
