"""What breaks HTTP itself, sent to the live gateway as bytes (catalogue rows H13 to H25)."""

import contextlib
import json
import socket
import time
from typing import Any

import pytest

from tests.support.bad_input import CHAT, MIB
from tests.support.front_door import Answer
from tests.support.http_bytes import RawClient, chat_body, request_bytes
from tests.support.stack import RunningStack

MAX_BODY_BYTES = 4 * MIB
HEAD_S, IDLE_S = 10.0, 15.0
"""Within so long a request's head, or progress of its body, and a first byte have to come."""

TLS_HELLO = bytes.fromhex("16030100a5010000a10303") + bytes(160)
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def refused(stack: RunningStack, data: bytes) -> Answer:
    """Send bytes; returns the one answer after which the connection is closed."""
    with RawClient(stack.address) as client:
        client.send(data)
        (answer,) = client.read_answers()
    return answer


def check(answer: Answer, status: int, code: str) -> None:
    """OpenAI's error object and a request id in an answer that closes."""
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["connection"] == "close"


def chat(stack: RunningStack, body: bytes = b"", **headers: str | None) -> bytes:
    """A chat request with changed headers, underscores standing for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return request_bytes(stack, CHAT, body or chat_body(), headers=named)


def with_line(stack: RunningStack, line: bytes) -> bytes:
    """A chat request with one more header line, as it is."""
    head, separator, body = chat(stack).partition(b"\r\n\r\n")
    return head + b"\r\n" + line + separator + body


@pytest.mark.parametrize("is_announced", [True, False])
def test_a_body_too_large_is_refused_and_not_read(
    stack: RunningStack, *, is_announced: bool
) -> None:
    """H13: with a length it is refused at once; in chunks, where the limit is reached."""
    body = b"x" * (MAX_BODY_BYTES + 1)
    if is_announced:
        data = chat(stack, body)
    else:
        head = chat(stack, content_length=None, transfer_encoding="chunked").partition(b"\r\n\r\n")
        data = head[0] + head[1] + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    with RawClient(stack.address) as client:
        sent = client.send_until_refused(data, at_most_bytes=len(data))
        answers = client.read_answers()
    assert sent > 0
    check(answers[0], 413, "body_too_large")
    assert len(answers) == 1


def test_the_largest_body_is_read(stack: RunningStack) -> None:
    """One byte less than too large is a request like any other."""
    start, end = b'{"model":"nothing","messages":[{"role":"user","content":"', b'"}]}'
    body = start + b"x" * (MAX_BODY_BYTES - len(start) - len(end)) + end
    assert len(body) == MAX_BODY_BYTES
    with RawClient(stack.address) as client:
        client.send(chat(stack, body))
        answer = client.read_answer()
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


def bad_framing(stack: RunningStack) -> dict[str, bytes]:
    """Requests whose end different readers would see in different places."""
    chunked = chat(stack, content_length=None, transfer_encoding="chunked")
    head = chunked.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    return {
        "H16_both": chat(stack, transfer_encoding="chunked"),
        "H16_two_lengths": with_line(stack, b"content-length: 5"),
        "H16_negative": chat(stack, content_length="-1"),
        "H16_plus": chat(stack, content_length="+5"),
        "H16_xchunked": chat(stack, content_length=None, transfer_encoding="xchunked"),
        "H16_chunked_twice": chat(stack, content_length=None, transfer_encoding="chunked, chunked"),
        "H16_bad_size": head + b"xyz\r\n{}\r\n0\r\n\r\n",
        "H16_endless_size": head + b"f" * 40 + b"\r\n{}\r\n0\r\n\r\n",
        "H17_no_host": chat(stack, host=None),
        "H17_two_hosts": with_line(stack, b"host: evil.example"),
        "H19_nul": with_line(stack, b"x-a: a\0b"),
        "H19_bare_cr": with_line(stack, b"x-a: a\rb: c"),
        "H19_folded": with_line(stack, b"x-a: a\r\n b"),
        "H19_space_before_colon": with_line(stack, b"x-a : a"),
        "H19_bare_lf": chat(stack).replace(b"\r\n", b"\n", 3),
        "H22_tls": TLS_HELLO,
        "H22_http2": HTTP2_PREFACE,
        "H22_http_1_9": chat(stack).replace(b"HTTP/1.1", b"HTTP/1.9", 1),
        "H22_no_http": b"\x00\x01\x02\x03\r\n\r\n",
        "H22_connect": b"CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example\r\n\r\n",
        "H22_fragment": request_bytes(stack, "/v1/models#x", method="GET"),
    }


def test_broken_http_is_refused_and_closed(stack: RunningStack, subtests: pytest.Subtests) -> None:
    """400 and the end of the connection: nothing that follows is taken for a request."""
    smuggled = request_bytes(stack, "/livez", method="GET")
    for name, data in bad_framing(stack).items():
        with subtests.test(name):
            check(refused(stack, data + smuggled), 400, "invalid_http")


def test_heads_are_bounded(stack: RunningStack) -> None:
    """H18: size of all headers, their number, and the length of the target."""
    many = b"\r\n".join(b"x-%d: 1" % number for number in range(101))
    check(refused(stack, with_line(stack, many)), 431, "headers_too_large")
    check(refused(stack, with_line(stack, b"x-a: " + b"a" * 17_000)), 431, "headers_too_large")
    long_target = request_bytes(stack, "/v1/models/" + "x" * 9_000, method="GET")
    check(refused(stack, long_target), 414, "uri_too_long")


def test_an_absolute_target_names_no_other_host(stack: RunningStack) -> None:
    """H22: scheme and host of the target are ignored."""
    with RawClient(stack.address) as client:
        client.send(request_bytes(stack, "http://evil.example/v1/models", method="GET"))
        assert client.read_answer().status == 200


def test_pipelined_requests_are_answered_in_order(stack: RunningStack) -> None:
    """H23: a few are all served; of a thousand some, and then the connection is closed."""
    with RawClient(stack.address) as client:
        models = [f"sim-fast:tokens={number}" for number in range(1, 9)]
        client.send(b"".join(request_bytes(stack, f"/v1/models/{m}", method="GET") for m in models))
        assert [json.loads(client.read_answer().body)["id"] for _ in models] == models
    with RawClient(stack.address) as client:
        client.send(request_bytes(stack, "/v1/models", method="GET") * 1_000)
        served = client.read_answers()
    assert {answer.status for answer in served} == {200}
    assert len(served) < 1_000
    assert served[-1].headers["connection"] == "close", "what is not answered may be sent again"


def test_a_large_body_is_refused_before_it_is_invited(stack: RunningStack) -> None:
    """H24: no 100 Continue for what would be thrown away."""
    head = chat(stack, content_length=str(MAX_BODY_BYTES + 1), expect="100-continue")
    check(refused(stack, head.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"), 413, "body_too_large")


def test_a_body_that_may_come_is_invited(stack: RunningStack) -> None:
    """H24: ``100 Continue`` comes before the body does, and only for a good head."""
    body = chat_body()
    data = chat(stack, body, expect="100-continue")
    with RawClient(stack.address) as client:
        client.send(data[: -len(body)])
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
        client.send(body)
        assert client.read_answer().status == 200
    stranger = chat(stack, body, expect="100-continue", authorization=None)
    answer = refused(stack, stranger[: -len(body)])
    assert answer.status == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", CHAT, 405),
        ("PUT", "/v1/models", 405),
        ("DELETE", "/v1/requests/x", 405),
        ("OPTIONS", CHAT, 405),
        ("TRACE", "/v1/models", 405),
        ("OPTIONS", "*", 404),
        ("GET", "/", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/models/", 404),
        ("GET", "//v1/models", 404),
        ("GET", "/v1/%2e%2e/v1/models", 404),
        ("GET", "/v1/../metrics", 404),
        ("GET", "/admin", 404),
        ("GET", "/docs", 404),
        ("GET", "/.env", 404),
        ("GET", "/debug/pprof", 404),
    ],
)
def test_a_wrong_path_or_method_is_an_error_and_no_redirect(
    stack: RunningStack, method: str, path: str, status: int
) -> None:
    """H25: 404 or 405, with no location."""
    with RawClient(stack.address) as client:
        client.send(request_bytes(stack, path, method=method))
        answer = client.read_answer()
    assert answer.status == status
    assert answer.error["code"] == {404: "not_found", 405: "method_not_allowed"}[status]
    assert "location" not in answer.headers
    assert (status == 405) == ("allow" in answer.headers)


def test_a_key_in_two_headers_is_none(stack: RunningStack) -> None:
    """H26: two Authorization headers are refused, even if both hold the key."""
    line = f"authorization: Bearer {stack.key}".encode()
    with RawClient(stack.address) as client:
        client.send(with_line(stack, line))
        answer = client.read_answer()
    assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


def test_a_key_as_long_as_a_book_is_refused(stack: RunningStack) -> None:
    """H27: a megabyte of key never reaches anybody who would look at it."""
    data = with_line(stack, b"x-key: " + b"k" * MIB)
    with RawClient(stack.address) as client:
        client.send_until_refused(data, at_most_bytes=len(data))
        (answer,) = client.read_answers()
    check(answer, 431, "headers_too_large")


def connected(
    stack: RunningStack, data: bytes, connections: contextlib.ExitStack
) -> list[RawClient]:
    """Fifty clients that have said this much."""
    clients = [connections.enter_context(RawClient(stack.address)) for _ in range(50)]
    for client in clients:
        client.send(data)
    return clients


def check_all_end(clients: list[RawClient], *, within_s: float, beginning: bytes) -> None:
    """Every one of these connections ends in time, with an answer that begins so."""
    give_up_at_s = time.monotonic() + within_s
    for client in clients:
        client.socket.settimeout(max(0.1, give_up_at_s - time.monotonic()))
        received = client.read_until_closed()
        assert received.startswith(beginning)
        assert bool(received) == bool(beginning)


def test_who_does_not_go_on_is_let_go(stack: RunningStack) -> None:
    """H15 and H21: a stalled body, a head that trickles, and silence are ended in time.

    All wait side by side, fifty of each, while others are served.
    """
    trickle = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-a: "
    with contextlib.ExitStack() as connections:
        began_s = time.monotonic()
        stalled = connected(stack, chat(stack, content_length="1000"), connections)
        trickling = connected(stack, trickle, connections)
        silent = connected(stack, b"", connections)
        while time.monotonic() - began_s < HEAD_S - 1:
            for client in trickling:
                client.send(b"a")
            assert served_within_s(stack) < 2.0
        margin_s = 5.0 + 1.0  # the sweep looks once a second; the machine may be busy
        check_all_end(trickling, within_s=margin_s, beginning=b"HTTP/1.1 408 ")
        check_all_end(stalled, within_s=margin_s, beginning=b"HTTP/1.1 408 ")
        check_all_end(silent, within_s=IDLE_S - HEAD_S + margin_s, beginning=b"")


def served_within_s(stack: RunningStack) -> float:
    """How long another client waits for an answer."""
    began_s = time.monotonic()
    with RawClient(stack.address) as client:
        client.send(chat(stack))
        assert client.read_answer().status == 200
    return time.monotonic() - began_s


def test_only_loopback_is_listened_on(stack: RunningStack) -> None:
    """Neither the gateway nor anything behind it can be reached from outside this machine."""
    addresses: dict[str, Any] = stack.status()["addresses"]
    flat = [str(value) for value in addresses.values() if isinstance(value, str)]
    assert all("127.0.0.1" in address for address in flat)
    own = socket.gethostbyname(socket.gethostname())
    if own.startswith("127."):
        own = "127.0.0.2"
    with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
        socket.create_connection((own, stack.address[1]), timeout=2).close()
