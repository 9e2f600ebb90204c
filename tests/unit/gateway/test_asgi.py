"""Reading a request and sending an answer, as ASGI messages."""

from collections.abc import MutableMapping
from typing import Any

import pytest

from services.gateway.app import GatewayApp, Routes
from services.gateway.asgi import BodyLost, Request, Send, send_error, send_whole
from services.shared.domain.errors import ERRORS, PublicError
from tests.support.gateway_desk import REQUEST_ID, Sent, http_request


def request_of(*messages: dict[str, Any]) -> Request:
    """A request whose body arrives in these messages."""
    left = list(messages)

    async def receive() -> MutableMapping[str, Any]:
        return left.pop(0)

    return Request({"type": "http", "headers": []}, receive, request_id=REQUEST_ID)


def part(body: bytes, *, more: bool) -> dict[str, Any]:
    """A part of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([part(b"abc", more=False)], id="at_once"),
        pytest.param([part(b"a", more=True), part(b"bc", more=False)], id="in_two"),
        pytest.param(
            [part(b"", more=True), part(b"abc", more=True), {"type": "http.request"}], id="empty"
        ),
    ],
)
async def test_a_body_is_read_whole(messages: list[dict[str, Any]]) -> None:
    """However it is cut, the body is the same."""
    assert await request_of(*messages).body() == b"abc"


@pytest.mark.parametrize("before", [[], [part(b"abc", more=True)]])
async def test_a_body_that_does_not_arrive_is_lost(before: list[dict[str, Any]]) -> None:
    """Half a body is never taken for one."""
    with pytest.raises(BodyLost):
        await request_of(*before, {"type": "http.disconnect"}).body()


def test_headers_are_read_by_name() -> None:
    """The last of several counts, all can be had, and a missing one is empty."""
    request = http_request(headers=[("a", "1"), ("b", "ä"), ("a", "2")])
    assert (request.header(b"a"), request.header(b"b"), request.header(b"c")) == ("2", "ä", "")
    assert request.all_of(b"a") == [b"1", b"2"]
    assert request.all_of(b"c") == []


@pytest.mark.parametrize("code", sorted(ERRORS))
async def test_every_error_is_openai_s_object_with_its_headers(code: str) -> None:
    """Status, type, code and what OpenAI's clients read to decide about a retry."""
    sent = Sent()
    error = PublicError(code=code, message="Why.", param="messages[0]", retry_after_ms=1200)
    await send_error(sent, error, request_id=REQUEST_ID)
    meaning = ERRORS[code]
    assert sent.status == meaning.status
    assert sent.error == {
        "message": "Why.",
        "type": meaning.type,
        "param": "messages[0]",
        "code": code,
    }
    assert sent.headers["x-request-id"] == REQUEST_ID
    assert sent.headers["x-should-retry"] == str(meaning.should_retry).lower()
    assert (sent.headers["retry-after-ms"], sent.headers["retry-after"]) == ("1200", "2")
    assert int(sent.headers["content-length"]) == len(sent.body)
    assert ("www-authenticate" in sent.headers) == (meaning.status == 401)
    assert sent.is_complete


async def test_no_hint_is_given_where_none_is_known() -> None:
    """Without a known pause there is no Retry-After, and without a field no param."""
    sent = Sent()
    await send_error(sent, PublicError(code="internal_error", message="Why."), request_id="r")
    assert sent.error["param"] is None
    assert not {"retry-after", "retry-after-ms"} & set(sent.headers)


async def _named(request: Request, send: Send) -> None:
    await send_whole(send, repr(request.parameters).encode())


async def _lost(_request: Request, _send: Send) -> None:
    raise BodyLost


APP = GatewayApp(
    Routes(
        exact={"/v1/list": {"GET": _named}, "/v1/ask": {"POST": _lost}},
        templates={
            "/v1/list/{name}/part": {"GET": _named, "POST": _named},
            "/v1/list/{name}": {"GET": _named},
        },
    ),
    new_request_id=lambda: REQUEST_ID,
)


async def answered(path: str, method: str = "GET") -> Sent:
    """What the application says to a path."""
    sent = Sent()
    request = http_request(path, method=method)
    await APP(request.scope, request.receive, sent)
    return sent


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/v1/list", ()),
        ("/v1/list/one", ("one",)),
        ("/v1/list/a%2Fb", ("a/b",)),
        ("/v1/list/a/b", ("a/b",)),
        ("/v1/list/%00", ("\0",)),
        ("/v1/list/..", ("..",)),
        ("/v1/list/one/part", ("one",)),
        ("/v1/list/a/b/part", ("a/b",)),
        ("/v1/list/part", ("part",)),
        ("/v1/list/one/part/", ("one/part/",)),
        ("/v1/list//part", ("/part",)),
        ("/v1/list/" + "x" * 256, ("x" * 256,)),
    ],
)
async def test_a_path_is_routed_as_it_was_sent(path: str, parameters: tuple[str, ...]) -> None:
    """Nothing is normalised or redirected; what stands in a template's place is one parameter."""
    sent = await answered(path)
    assert (sent.status, sent.body) == (200, repr(parameters).encode())


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/v1",
        "/v1/",
        "/v1/list/",
        "//v1/list",
        "/v1//list",
        "/V1/list",
        "/v1/%6cist",
        "/v1/./list",
        "/v1/../v1/list",
        "/v1/ask/",
        "/v1/list/" + "x" * 257,
    ],
)
async def test_an_unknown_path_is_not_found(path: str) -> None:
    """Near misses are errors, never redirects."""
    sent = await answered(path)
    assert (sent.status, sent.error["code"]) == (404, "not_found")
    assert sent.headers["x-request-id"] == REQUEST_ID


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("/v1/list", "POST", "GET, HEAD"),
        ("/v1/list/one", "DELETE", "GET, HEAD"),
        ("/v1/list/one", "POST", "GET, HEAD"),
        ("/v1/list/one/part", "DELETE", "GET, HEAD, POST"),
        ("/v1/ask", "GET", "POST"),
        ("/v1/ask", "HEAD", "POST"),
        ("/v1/ask", "OPTIONS", "POST"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(path: str, method: str, allowed: str) -> None:
    """405 names what the path takes."""
    sent = await answered(path, method)
    assert (sent.status, sent.error["code"]) == (405, "method_not_allowed")
    assert sent.headers["allow"] == allowed


async def test_head_is_answered_like_get() -> None:
    """Monitors ask with HEAD; the front door leaves the body away."""
    assert (await answered("/v1/list", "HEAD")).status == 200


async def test_a_lost_body_needs_no_answer() -> None:
    """The front door has answered already."""
    sent = await answered("/v1/ask", "POST")
    assert not sent.status


async def test_other_scopes_are_ignored() -> None:
    """ASGI's lifespan and websockets are not ours."""
    sent = Sent()
    await APP({"type": "lifespan"}, http_request().receive, sent)
    assert not sent.status
