"""Heads of requests and answers, and refusals: the pure parts of the front door."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.front_door import refusals
from services.gateway.front_door.limits import FrontDoorLimits
from services.gateway.front_door.request_head import BodyFraming, RequestHead, read_head
from services.gateway.front_door.response_head import UNKNOWN_LENGTH, render_head
from services.shared.domain.errors import ERRORS, PublicError

HOST = (b"host", b"test")


def _read(
    *headers: tuple[bytes, bytes],
    version: str = "1.1",
    target: bytes = b"/v1",
    limits: FrontDoorLimits | None = None,
) -> RequestHead | PublicError:
    return read_head(
        version=version,
        method="POST",
        target=target,
        headers=list(headers),
        limits=limits or FrontDoorLimits(),
    )


@pytest.mark.parametrize(
    ("headers", "version", "expected"),
    [
        pytest.param([HOST], "1.1", BodyFraming(), id="no_body"),
        pytest.param([], "1.0", BodyFraming(), id="http_1_0_knows_no_host"),
        pytest.param(
            [HOST, (b"content-length", b"7 ")], "1.1", BodyFraming(length_bytes=7), id="cl"
        ),
        pytest.param(
            [HOST, (b"transfer-encoding", b" Chunked")],
            "1.1",
            BodyFraming(is_chunked=True),
            id="chunked",
        ),
        pytest.param(
            [HOST, (b"content-length", b"7"), (b"expect", b"100-Continue")],
            "1.1",
            BodyFraming(length_bytes=7, expects_continue=True),
            id="continue",
        ),
        pytest.param(
            [HOST, (b"content-length", b"7"), (b"expect", b"100-continue")],
            "1.0",
            BodyFraming(length_bytes=7),
            id="http_1_0_knows_no_continue",
        ),
        pytest.param([HOST, (b"expect", b"a miracle")], "1.1", BodyFraming(), id="other_wish"),
    ],
)
def test_framing_of_a_body_is_read(
    headers: list[tuple[bytes, bytes]], version: str, expected: BodyFraming
) -> None:
    """One host; a length or chunks; a wish to be told to continue."""
    head = _read(*headers, version=version)
    assert isinstance(head, RequestHead)
    assert head.body == expected


@pytest.mark.parametrize(
    ("headers", "version", "expected"),
    [
        pytest.param([], "1.1", refusals.HOST_NOT_ONE, id="no_host"),
        pytest.param([HOST, HOST], "1.1", refusals.HOST_NOT_ONE, id="two_hosts"),
        pytest.param([HOST, HOST], "1.0", refusals.HOST_NOT_ONE, id="two_hosts_http_1_0"),
        pytest.param([HOST], "2.0", refusals.VERSION_UNKNOWN, id="version"),
        pytest.param(
            [HOST, (b"content-length", b"7"), (b"transfer-encoding", b"chunked")],
            "1.1",
            refusals.FRAMED_TWICE,
            id="cl_and_te",
        ),
        pytest.param(
            [HOST, (b"transfer-encoding", b"gzip, chunked")],
            "1.1",
            refusals.TRANSFER_ENCODING_UNKNOWN,
            id="te_list",
        ),
        pytest.param(
            [HOST, (b"transfer-encoding", b"gzip"), (b"transfer-encoding", b"chunked")],
            "1.1",
            refusals.TRANSFER_ENCODING_UNKNOWN,
            id="te_twice",
        ),
        pytest.param(
            [HOST, (b"transfer-encoding", b"chunked")],
            "1.0",
            refusals.TRANSFER_ENCODING_UNKNOWN,
            id="te_http_1_0",
        ),
        pytest.param(
            [HOST, (b"content-length", b"4194305")], "1.1", refusals.BODY_TOO_LARGE, id="too_large"
        ),
    ],
)
def test_framing_that_two_readers_could_see_differently_is_refused(
    headers: list[tuple[bytes, bytes]], version: str, expected: PublicError
) -> None:
    """What a relay before us might understand otherwise never gets to an application."""
    assert _read(*headers, version=version) == expected


def test_header_bytes_are_counted_with_their_separators() -> None:
    """The bound is exact: as many bytes as it says pass, one more does not."""
    size_bytes = len(b"host: test\r\n") + len(b"a: bcd\r\n")
    headers = [HOST, (b"a", b"bcd")]
    exact = FrontDoorLimits(max_header_bytes=size_bytes)
    small = FrontDoorLimits(max_header_bytes=size_bytes - 1)
    assert isinstance(_read(*headers, limits=exact), RequestHead)
    assert _read(*headers, limits=small) == refusals.HEADERS_TOO_LARGE


@given(
    st.from_regex(rb"/[!-\"$->@-~]*", fullmatch=True), st.from_regex(rb"[!-\"$-~]*", fullmatch=True)
)
def test_path_and_query_are_the_target_again(path: bytes, query: bytes) -> None:
    """Splitting a target loses, decodes and normalises nothing."""
    target = path + b"?" + query
    head = _read(HOST, target=target)
    assert isinstance(head, RequestHead)
    assert (head.path, head.query) == (path, query)


def _request(method: str = "POST", version: str = "1.1") -> RequestHead:
    return RequestHead(
        version=version, method=method, path=b"/", query=b"", headers=[], body=BodyFraming()
    )


@pytest.mark.parametrize(
    ("headers", "request_head", "keep_alive", "expected"),
    [
        pytest.param(
            [(b"content-length", b"3")],
            _request(),
            True,
            (b"content-length: 3\r\n", 3, False, True),
            id="length",
        ),
        pytest.param(
            [],
            _request(),
            True,
            (b"transfer-encoding: chunked\r\n", UNKNOWN_LENGTH, True, True),
            id="chunked",
        ),
        pytest.param(
            [],
            _request(version="1.0"),
            True,
            (b"connection: close\r\n", UNKNOWN_LENGTH, False, False),
            id="until_close",
        ),
        pytest.param([], _request("HEAD"), True, (b"", 0, False, True), id="head"),
        pytest.param(
            [(b"content-length", b"3")],
            _request(),
            False,
            (b"content-length: 3\r\nconnection: close\r\n", 3, False, False),
            id="server_closes",
        ),
        pytest.param(
            [(b"content-length", b"3"), (b"connection", b"Close")],
            _request(),
            True,
            (b"content-length: 3\r\nconnection: Close\r\n", 3, False, False),
            id="application_closes",
        ),
    ],
)
def test_head_of_an_answer_marks_its_end_in_one_way(
    *,
    headers: list[tuple[bytes, bytes]],
    request_head: RequestHead,
    keep_alive: bool,
    expected: tuple[bytes, int, bool, bool],
) -> None:
    """A length, chunks, or the close: exactly one of them ends an answer."""
    head = render_head(
        200, headers, date_line=b"date: now\r\n", request=request_head, keep_alive=keep_alive
    )
    lines, length_bytes, is_chunked, keeps = expected
    assert head.data == b"HTTP/1.1 200 OK\r\ndate: now\r\n" + lines + b"\r\n"
    assert (head.length_bytes, head.is_chunked, head.keep_alive) == (
        length_bytes,
        is_chunked,
        keeps,
    )


@pytest.mark.parametrize("status", [204, 304])
def test_answer_without_body_has_no_framing(status: int) -> None:
    """204 and 304 have no body by definition."""
    head = render_head(status, [], date_line=b"", request=_request(), keep_alive=True)
    assert b"transfer-encoding" not in head.data
    assert head.length_bytes == 0


def test_status_without_a_name_is_rendered() -> None:
    """A provider's odd status passes through."""
    head = render_head(
        529, [(b"content-length", b"0")], date_line=b"", request=_request(), keep_alive=True
    )
    assert head.data.startswith(b"HTTP/1.1 529 \r\n")


@pytest.mark.parametrize(
    "evil", [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\0b", b"\r\n\r\n<html>", b"\n"]
)
@pytest.mark.parametrize("in_name", [True, False])
def test_line_breaks_in_response_headers_are_refused(*, evil: bytes, in_name: bool) -> None:
    """No name or value can end its line, start a header or start the body."""
    header = (evil, b"x") if in_name else (b"x-model", evil)
    with pytest.raises(ValueError, match="line break"):
        render_head(200, [header], date_line=b"", request=_request(), keep_alive=True)


def test_application_cannot_frame_its_answer_itself() -> None:
    """Two framings of one answer would be our own smuggling."""
    header = (b"transfer-encoding", b"chunked")
    with pytest.raises(ValueError, match="transfer-encoding"):
        render_head(200, [header], date_line=b"", request=_request(), keep_alive=True)


ALL_REFUSALS = [value for value in vars(refusals).values() if isinstance(value, PublicError)]


@pytest.mark.parametrize("error", ALL_REFUSALS, ids=lambda error: error.message[:40])
def test_refusal_is_a_whole_http_answer_with_openai_s_error_object(error: PublicError) -> None:
    """Status, length, request id and the four fields; Retry-After exactly on 503."""
    data = refusals.refusal_bytes(error, request_id="req_1", date_line=b"", retry_after_s=3)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert first.startswith(f"HTTP/1.1 {ERRORS[error.code].status} ")
    assert headers.pop("content-length") == str(len(body))
    assert headers.pop("retry-after", None) == ("3" if error.meaning.status == 503 else None)
    assert headers == {
        "content-type": "application/json",
        "x-request-id": "req_1",
        "connection": "close",
    }
    document = json.loads(body)["error"]
    assert (document["message"], document["code"]) == (error.message, error.code)


def test_own_retry_time_of_a_refusal_wins() -> None:
    """A refusal that knows when to come back says so, in whole seconds and never too early."""
    error = PublicError(code="server_is_overloaded", message="busy", retry_after_ms=1500)
    data = refusals.refusal_bytes(error, request_id="req_1", date_line=b"", retry_after_s=9)
    assert b"\r\nretry-after: 2\r\n" in data


@given(st.binary(max_size=300))
def test_unparseable_bytes_are_not_repeated(received: bytes) -> None:
    """The message comes from a fixed set, whatever was sent."""
    fixed = "The request is not valid HTTP/1.1: Invalid header token."
    known = {fixed, refusals.TLS_SPOKEN.message, refusals.VERSION_UNKNOWN.message}
    assert refusals.unparseable("Invalid header token", received).message in known


def test_common_mistakes_are_named() -> None:
    """Someone who speaks TLS or HTTP/2 to the port reads what to do instead."""
    assert refusals.unparseable("x", b"\x16\x03\x01\x02") is refusals.TLS_SPOKEN
    assert refusals.unparseable("x", b"PRI * HTTP/2.0\r\n") is refusals.VERSION_UNKNOWN
