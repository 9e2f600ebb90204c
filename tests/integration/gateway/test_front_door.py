"""Requests at the front door as raw bytes: what is refused, what passes, and how."""

import asyncio
import json

import pytest
from starlette.types import Receive, Scope, Send

from services.gateway.front_door.limits import FrontDoorLimits
from tests.support.front_door import PATIENCE_S, LoopFactory, RunningDoor, running_door
from tests.support.front_door_application import PATIENT, Application, head, post

pytest_plugins = ["tests.support.front_door_fixtures"]

HOST = "Host: test"
CHUNKED = "Transfer-Encoding: chunked"
MARK = "MARK" * 20
MALFORMED = [
    pytest.param(head(), 400, "invalid_http", id="no_host"),
    pytest.param(head(HOST, "Host: other"), 400, "invalid_http", id="two_hosts"),
    pytest.param(head(HOST, HOST), 400, "invalid_http", id="same_host_twice"),
    pytest.param(
        head(HOST, "Content-Length: 5", CHUNKED) + b"0\r\n\r\n", 400, "invalid_http", id="cl_te"
    ),
    pytest.param(
        head(HOST, CHUNKED, "Content-Length: 5") + b"0\r\n\r\n", 400, "invalid_http", id="te_cl"
    ),
    pytest.param(
        head(HOST, "Content-Length: 5", "Content-Length: 6") + b"hello",
        400,
        "invalid_http",
        id="two_lengths",
    ),
    pytest.param(
        head(HOST, "Content-Length: 5", "Content-Length: 5") + b"hello",
        400,
        "invalid_http",
        id="same_length_twice",
    ),
    pytest.param(head(HOST, "Content-Length: 5, 5"), 400, "invalid_http", id="length_list"),
    pytest.param(head(HOST, "Content-Length: +5"), 400, "invalid_http", id="length_plus"),
    pytest.param(head(HOST, "Content-Length: -5"), 400, "invalid_http", id="length_negative"),
    pytest.param(head(HOST, "Content-Length: 0x5"), 400, "invalid_http", id="length_hex"),
    pytest.param(head(HOST, "Content-Length:"), 400, "invalid_http", id="length_empty"),
    pytest.param(
        head(HOST, f"Content-Length: {10**20}"), 400, "invalid_http", id="length_overflow"
    ),
    pytest.param(head(HOST, "Transfer-Encoding: xchunked"), 400, "invalid_http", id="te_unknown"),
    pytest.param(head(HOST, "Transfer-Encoding: gzip"), 400, "invalid_http", id="te_gzip"),
    pytest.param(
        head(HOST, "Transfer-Encoding: gzip, chunked"), 400, "invalid_http", id="te_gzip_chunked"
    ),
    pytest.param(
        head(HOST, "Transfer-Encoding: gzip", CHUNKED), 400, "invalid_http", id="te_in_two_lines"
    ),
    pytest.param(
        head(HOST, "Transfer-Encoding: chunked, chunked"), 400, "invalid_http", id="te_twice"
    ),
    pytest.param(head(HOST, "Transfer-Encoding: \x0bchunked"), 400, "invalid_http", id="te_vt"),
    pytest.param(
        head(HOST, CHUNKED, first="POST /v1 HTTP/1.0") + b"0\r\n\r\n",
        400,
        "invalid_http",
        id="te_in_http_1_0",
    ),
    pytest.param(head(HOST, CHUNKED) + b"zz\r\n", 400, "invalid_http", id="chunk_not_hex"),
    pytest.param(
        head(HOST, CHUNKED) + b"5 \r\nhello\r\n", 400, "invalid_http", id="chunk_size_blank"
    ),
    pytest.param(
        head(HOST, CHUNKED) + b"f" * 17 + b"\r\n", 400, "invalid_http", id="chunk_size_overflow"
    ),
    pytest.param(
        head(HOST, CHUNKED) + b"5\r\nhelloX\r\n", 400, "invalid_http", id="chunk_too_long"
    ),
    pytest.param(head(HOST, CHUNKED) + b"5\nhello\r\n", 400, "invalid_http", id="chunk_bare_lf"),
    pytest.param(
        head(HOST, CHUNKED) + b"0\r\nContent-Length: 5\r\n\r\n",
        400,
        "invalid_http",
        id="length_in_trailer",
    ),
    pytest.param(head(HOST, f"X-A: {MARK}\0b"), 400, "invalid_http", id="nul_in_value"),
    pytest.param(head(HOST, "X\0: a"), 400, "invalid_http", id="nul_in_name"),
    pytest.param(head(HOST, f"X-A: {MARK}\rb"), 400, "invalid_http", id="cr_in_value"),
    pytest.param(head(HOST, "X-A: a\x01b"), 400, "invalid_http", id="control_in_value"),
    pytest.param(head(HOST, f"X-A: {MARK}\r\n b"), 400, "invalid_http", id="folded_line"),
    pytest.param(head(HOST, "X-A : a"), 400, "invalid_http", id="blank_before_colon"),
    pytest.param(head(HOST, "X-A"), 400, "invalid_http", id="no_colon"),
    pytest.param(head(HOST, ": a"), 400, "invalid_http", id="no_name"),
    pytest.param(head(" Host: test"), 400, "invalid_http", id="blank_before_first_header"),
    pytest.param(b"GET / HTTP/1.1\nHost: a\n\n", 400, "invalid_http", id="bare_lf"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, "invalid_http", id="one_bare_lf"),
    pytest.param(head(HOST, first="GET / HTTP/1.9"), 400, "invalid_http", id="http_1_9"),
    pytest.param(head(HOST, first="GET / HTTP/2.0"), 400, "invalid_http", id="http_2_0"),
    pytest.param(head(HOST, first="GET / HTTP/0.9"), 400, "invalid_http", id="http_0_9"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "invalid_http", id="http2_preface"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03", 400, "invalid_http", id="tls_hello"),
    pytest.param(head(HOST, first=f"{MARK} / HTTP/1.1"), 400, "invalid_http", id="method"),
    pytest.param(head(HOST, first="CONNECT a:80 HTTP/1.1"), 400, "invalid_http", id="connect"),
    pytest.param(head(HOST, first="GET v1 HTTP/1.1"), 400, "invalid_http", id="relative_target"),
    pytest.param(head(HOST, first="GET /a#b HTTP/1.1"), 400, "invalid_http", id="fragment"),
    pytest.param(head(HOST, first="GET * HTTP/1.1"), 400, "invalid_http", id="star_for_get"),
    pytest.param(head(HOST, first="GET ftp://h/a HTTP/1.1"), 400, "invalid_http", id="ftp"),
    pytest.param(head(HOST, first="GET /\xe9 HTTP/1.1"), 400, "invalid_http", id="raw_latin1"),
    pytest.param(head(HOST, first="GET /\0 HTTP/1.1"), 400, "invalid_http", id="nul_in_target"),
    pytest.param(
        head(HOST, first=f"GET /{'a' * 8192} HTTP/1.1"), 414, "uri_too_long", id="uri_8_kib"
    ),
    pytest.param(
        head(HOST, first=f"GET /{'a' * 10**6} HTTP/1.1"), 414, "uri_too_long", id="uri_1_mb"
    ),
    pytest.param(head(HOST, f"X-A: {'a' * 16384}"), 431, "headers_too_large", id="header_16_kib"),
    pytest.param(head(HOST, f"X-A: {'a' * 10**6}"), 431, "headers_too_large", id="header_1_mb"),
    pytest.param(head(HOST, f"{'a' * 10**6}: b"), 431, "headers_too_large", id="name_1_mb"),
    pytest.param(
        head(HOST, *[f"x{i}: a" for i in range(100)]), 431, "headers_too_large", id="headers_101"
    ),
    pytest.param(
        head(HOST, *[f"x{i}: a" for i in range(10**5)]), 431, "headers_too_large", id="headers_1e5"
    ),
    pytest.param(
        head(HOST, *["x: a"] * 90, "y: " + "b" * 16000), 431, "headers_too_large", id="in_sum"
    ),
    pytest.param(
        head(HOST, CHUNKED) + b"0\r\n" + b"x: a\r\n" * 101 + b"\r\n",
        431,
        "headers_too_large",
        id="trailers_101",
    ),
    pytest.param(head(HOST, "Content-Length: 4194305"), 413, "body_too_large", id="length_4_mib_1"),
    pytest.param(
        head(HOST, "Content-Length: 4194305", "Expect: 100-continue"),
        413,
        "body_too_large",
        id="too_large_before_100_continue",
    ),
    pytest.param(
        head(HOST, CHUNKED) + b"400001\r\n" + b"a" * 0x400001,
        413,
        "body_too_large",
        id="chunked_4_mib_1",
    ),
    pytest.param(
        head(HOST, CHUNKED) + b"1;ext=%b\r\na\r\n" % (b"e" * 64) * 10_000,
        400,
        "invalid_http",
        id="chunks_of_one_byte",
    ),
]


@pytest.mark.parametrize(("request_bytes", "status", "code"), MALFORMED)
def test_malformed_request_is_refused_and_its_connection_ends(
    patient: RunningDoor, request_bytes: bytes, status: int, code: str
) -> None:
    """One answer: OpenAI's error object, a request id, nothing of the input; then the end."""
    with patient.client() as client:
        client.send(request_bytes)
        (answer,) = client.read_answers()
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.error.keys() == {"message", "type", "param", "code"}
    assert answer.error["type"] == "invalid_request_error"
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"] == "req_test"
    assert MARK not in answer.error["message"]
    assert len(answer.error["message"]) < 120
    assert patient.ask(lambda: dict(patient.door.refusals)) == {code: 1}
    assert patient.ask(lambda: patient.door.unanswered_body_bytes) == 0


@pytest.mark.parametrize("request_bytes", [case.values[0] for case in MALFORMED[:20]])
def test_malformed_head_never_reaches_the_application(
    patient: RunningDoor, app: Application, request_bytes: bytes
) -> None:
    """What cannot be framed for certain is not shown to the application at all."""
    with patient.client() as client:
        client.send(request_bytes)
        client.read_until_closed()
    assert app.paths == []


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/v1/models", "/v1/models", ""),
        ("/v1/models?a=b&c", "/v1/models", "a=b&c"),
        ("/v1/models/", "/v1/models/", ""),
        ("//v1/models", "//v1/models", ""),
        ("/v1/../v1/models", "/v1/../v1/models", ""),
        ("/v1/%2e%2e/models", "/v1/%2e%2e/models", ""),
        ("/v1%2Fmodels", "/v1%2Fmodels", ""),
        ("/v1/%6dodels", "/v1/%6dodels", ""),
        ("/v1/%00", "/v1/%00", ""),
        ("http://evil/v1/models?a", "/v1/models", "a"),
        ("HTTPS://evil:1/v1", "/v1", ""),
        ("http://evil?a=/b", "/", "a=/b"),
        ("http://user:secret@evil", "/", ""),
    ],
)
def test_target_reaches_the_application_as_it_was_sent(
    patient: RunningDoor, target: str, path: str, query: str
) -> None:
    """No decoding, no merging of slashes, no dots resolved; an absolute URI's host counts not."""
    with patient.client() as client:
        client.send(head(HOST, first=f"GET {target} HTTP/1.1"))
        seen = json.loads(client.read_answer().body)
    assert (seen["path"], seen["query"], seen["hosts"]) == (path, query, ["test"])


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([f"X-A: {'a' * (16 * 1024 - 50)}"], id="large"),
        pytest.param([f"x{i}: a" for i in range(98)], id="many"),
        pytest.param(["X-A: \xe9\xff"], id="latin1_is_the_application_s_to_judge"),
    ],
)
def test_heads_within_the_bounds_pass(patient: RunningDoor, headers: list[str]) -> None:
    """The bounds refuse what is over them and nothing below."""
    with patient.client() as client:
        client.send(post("/v1", b"{}", *headers).decode("latin-1").encode("latin-1"))
        assert client.read_answer().status == 200


def _chunks(body: bytes, size: int) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize("chunk_bytes", [1 << 22, 65536, 1000])
def test_largest_body_arrives_whole_in_either_framing(
    patient: RunningDoor, app: Application, chunk_bytes: int
) -> None:
    """4 MiB pass to the last byte, with a length and in chunks, on one connection."""
    body = b"a" * (4 * 1024 * 1024)
    with patient.client() as client:
        client.send(post("/v1", body))
        assert client.read_answer().status == 200
        client.send(head(HOST, CHUNKED) + _chunks(body, chunk_bytes))
        assert client.read_answer().status == 200
    assert app.received_bytes == [len(body), len(body)]
    assert patient.ask(lambda: patient.door.unanswered_body_bytes) == 0


def test_trailers_do_not_become_headers(patient: RunningDoor) -> None:
    """A trailer cannot pass for a header that was checked before the body."""
    with patient.client() as client:
        client.send(head(HOST, CHUNKED) + b"0\r\nauthorization: Bearer x\r\n\r\n")
        seen = json.loads(client.read_answer().body)
    assert seen["headers"] == ["host", "transfer-encoding"]


def test_body_without_length_is_read_no_further_than_its_limit(quick: RunningDoor) -> None:
    """A client that sends without end is answered at the limit and then cut."""
    with quick.client() as client:
        client.send(head(HOST, CHUNKED))
        sent_bytes = client.send_until_refused(
            b"4000\r\n" + b"a" * 0x4000 + b"\r\n", at_most_bytes=2**27
        )
    assert sent_bytes < 2**24
    quick.wait_until(lambda: not quick.door.connections)
    assert quick.ask(lambda: dict(quick.door.refusals)) == {"body_too_large": 1}
    assert quick.ask(lambda: quick.door.unanswered_body_bytes) == 0


def test_refusal_reaches_a_client_that_is_still_sending(patient: RunningDoor) -> None:
    """The answer is not lost to the reset that unread bytes would cause."""
    with patient.client() as client:
        client.send(head(HOST, "Content-Length: 5000000"))
        client.send(b"a" * 500_000)
        (answer,) = client.read_answers()
    assert answer.status == 413


def test_application_s_early_answer_reaches_a_client_that_is_still_sending(
    patient: RunningDoor,
) -> None:
    """An answer before the body was read (401) arrives, and the connection ends after it."""
    with patient.client() as client:
        client.send(head(HOST, "Content-Length: 1000000", first="POST /early HTTP/1.1"))
        client.send(b"a" * 200_000)
        (answer,) = client.read_answers()
    assert answer.status == 401
    assert answer.headers["connection"] == "close"


def test_body_that_the_application_does_not_take_stays_in_the_socket(
    new_loop: LoopFactory,
) -> None:
    """Before the application reads, only a buffer's worth of the body is in our memory."""
    may_read = asyncio.Event()
    application = Application()

    async def hesitant(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await may_read.wait()
        await application(scope, receive, send)

    body = b"a" * (4 * 1024 * 1024)
    with (
        running_door(hesitant, limits=PATIENT, new_loop=new_loop) as running,
        running.client() as client,
    ):
        client.socket.setblocking(False)  # noqa: FBT003 - the standard library's signature
        client.socket.send(head(HOST, f"Content-Length: {len(body)}"))
        sent_bytes = 0

        def is_full() -> bool:
            nonlocal sent_bytes
            try:
                sent_bytes += client.socket.send(body[sent_bytes:])
            except BlockingIOError:
                return sent_bytes > 0 and running.door.unanswered_body_bytes > 0
            return sent_bytes == len(body)

        running.wait_until(is_full)
        assert running.ask(lambda: running.door.unanswered_body_bytes) <= 512 * 1024
        running.ask(may_read.set)
        client.socket.settimeout(PATIENCE_S)
        client.send(body[sent_bytes:])
        assert client.read_answer().status == 200


def test_bodies_of_all_clients_together_are_bounded(
    app: Application, new_loop: LoopFactory
) -> None:
    """Over the common bound a request is refused as overload and the sum is given back."""
    limits = FrontDoorLimits(max_unanswered_body_bytes=100_000, linger_s=5.0, sweep_s=0.02)
    with running_door(app, limits=limits, new_loop=new_loop) as running:
        with running.client() as first, running.client() as second, running.client() as third:
            first.send(post("/wait", b"a" * 60_000))
            running.wait_until(lambda: running.door.unanswered_body_bytes == 60_000)
            second.send(post("/wait", b"a" * 60_000))
            (answer,) = second.read_answers()
            third.send(head(HOST, CHUNKED) + b"ea60\r\n" + b"a" * 60_000)
            (other,) = third.read_answers()
            running.ask(app.may_answer.set)
            assert first.read_answer().body == b"waited"
        assert (answer.status, answer.error["code"]) == (503, "server_is_overloaded")
        assert (other.status, other.error["code"]) == (503, "server_is_overloaded")
        assert 1 <= int(answer.headers["retry-after"]) <= 10
        assert running.ask(lambda: running.door.unanswered_body_bytes) == 0


def test_continue_is_sent_when_the_application_reads(patient: RunningDoor) -> None:
    """A client that asks first is told to go on, and its body arrives."""
    with patient.client() as client:
        client.send(head(HOST, "Content-Length: 5", "Expect: 100-continue"))
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"hello")
        assert json.loads(client.read_answer().body)["body"] == "hello"


def test_refusing_application_never_invites_the_body(patient: RunningDoor) -> None:
    """An answer without reading goes out instead of 100, and ends the connection."""
    with patient.client() as client:
        client.send(
            head(HOST, "Content-Length: 5", "Expect: 100-continue", first="POST /early HTTP/1.1")
        )
        (answer,) = client.read_answers()
    assert (answer.status, answer.headers["connection"]) == (401, "close")


@pytest.mark.parametrize("framing", ["Content-Length: 5", CHUNKED])
def test_declined_upgrade_leaves_an_ordinary_request(patient: RunningDoor, framing: str) -> None:
    """Java's HTTP client asks for h2c with its first request; its body is read all the same."""
    wish = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"]
    body = b"hello" if framing != CHUNKED else b"5\r\nhello\r\n0\r\n\r\n"
    with patient.client() as client:
        client.send(head(HOST, *wish, framing) + body)
        assert json.loads(client.read_answer().body)["body"] == "hello"
        client.send(head(HOST, *wish, framing))
        client.send(body[:3])
        client.send(body[3:] + post("/v1", b"next"))
        assert json.loads(client.read_answer().body)["body"] == "hello"
        assert json.loads(client.read_answer().body)["body"] == "next"


def test_websocket_handshake_is_an_ordinary_get(patient: RunningDoor) -> None:
    """There are no WebSockets here: the application sees a GET and says what it says to it."""
    with patient.client() as client:
        client.send(head(HOST, "Connection: Upgrade", "Upgrade: websocket", first="GET / HTTP/1.1"))
        assert json.loads(client.read_answer().body)["method"] == "GET"
