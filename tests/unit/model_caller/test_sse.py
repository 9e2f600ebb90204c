"""Server-sent events, however their bytes are cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model_caller.sse import MAX_EVENT_BYTES, EventTooLarge, SseDecoder


def decoded(*pieces: bytes) -> list[bytes]:
    """What a stream of these pieces holds."""
    decoder = SseDecoder()
    events = [data for piece in pieces for data in decoder.feed(piece)]
    return events + decoder.close()


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(b"", [], id="empty"),
        pytest.param(b"data: a\n\ndata: b\n\n", [b"a", b"b"], id="plain"),
        pytest.param(b"data:a\n\n", [b"a"], id="no_space"),
        pytest.param(b"data:  a\n\n", [b" a"], id="one_space_is_syntax"),
        pytest.param(b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"], id="crlf"),
        pytest.param(b"data: a\r\rdata: b\r\r", [b"a", b"b"], id="cr"),
        pytest.param(b"data: a\r\n\ndata: b\n\r\n", [b"a", b"b"], id="mixed_line_ends"),
        pytest.param(b": ping\n\ndata: a\n\n: pong\n\n", [b"a"], id="comments"),
        pytest.param(b": ping\ndata: a\n\n", [b"a"], id="comment_in_an_event"),
        pytest.param(b"event: x\nid: 3\nretry: 9\ndata: a\n\n", [b"a"], id="other_fields"),
        pytest.param(b"data: a\ndata: b\n\n", [b"a\nb"], id="several_lines"),
        pytest.param(b"\n\n\ndata: a\n\n\n\n", [b"a"], id="blank_lines"),
        pytest.param(b"data: a", [b"a"], id="no_end"),
        pytest.param(b"data: a\r", [b"a"], id="no_end_but_a_cr"),
        pytest.param(b"data: a\n\ndata: b\n", [b"a", b"b"], id="half_an_end"),
        pytest.param(b"datum: a\n\nda", [], id="no_data"),
        pytest.param("data: ü€😀\n\n".encode(), ["ü€😀".encode()], id="utf8"),
    ],
)
def test_events_do_not_depend_on_how_bytes_are_cut(stream: bytes, expected: list[bytes]) -> None:
    """In one piece, byte by byte, and in any two pieces a stream holds the same events."""
    assert decoded(stream) == expected
    assert decoded(*(stream[i : i + 1] for i in range(len(stream)))) == expected
    for i in range(len(stream)):
        assert decoded(stream[:i], stream[i:]) == expected


@given(
    st.lists(
        st.sampled_from([b"data: ", b"data:", b"x", b"\n", b"\r", b"\r\n", b"\n\n", b": c", b" "]),
        max_size=30,
    ),
    st.lists(st.integers(0, 120), max_size=6),
)
def test_any_cut_of_any_stream_holds_the_same_events(parts: list[bytes], cuts: list[int]) -> None:
    """Line ends of all three kinds in any order, cut anywhere."""
    stream = b"".join(parts)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[a:b] for a, b in itertools.pairwise(places)]
    assert decoded(*pieces) == decoded(stream)


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=8))
def test_what_is_sent_is_received(datas: list[bytes]) -> None:
    """Every event of clean data comes out once, in order."""
    clean = [data.replace(b"\n", b"").replace(b"\r", b"") for data in datas]
    stream = b"".join(b"data: " + data + b"\n\n" for data in clean)
    assert decoded(stream) == [data for data in clean if data]


def test_an_event_that_does_not_end_is_refused() -> None:
    """A provider cannot make us keep more than the largest event."""
    pieces = [b"x" * 65_536] * (MAX_EVENT_BYTES // 65_536 + 1)
    with pytest.raises(EventTooLarge):
        decoded(*pieces)


def test_the_largest_event_passes() -> None:
    """Only what has no end is too large."""
    data = b"x" * (MAX_EVENT_BYTES - 6)
    assert decoded(b"data: " + data, b"\n\n") == [data]
