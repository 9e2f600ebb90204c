"""Server-sent events, read by the decoders that clients really use."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import ServerSentEvent, SSEDecoder

from services.gateway import sse
from services.shared.domain.errors import PublicError

AT = sse.EventId(7, 3, 42)


def _decode(data: bytes, *, cut_at: int | None = None) -> list[ServerSentEvent]:
    parts = [data] if cut_at is None else [data[:cut_at], data[cut_at:]]

    def chunks() -> Iterator[bytes]:
        yield from parts

    return list(SSEDecoder().iter_bytes(chunks()))


texts = st.text() | st.text(alphabet='\u2028\u2029\u0085\r\n\\"“…é\x1c\x0b', min_size=1)
documents = st.lists(st.fixed_dictionaries({"delta": texts}), min_size=1, max_size=4)


def _payload(contents: list[dict[str, str]], *, ascii_only: bool) -> bytes:
    return "\n".join(
        json.dumps(content, ensure_ascii=ascii_only, separators=(",", ":")) for content in contents
    ).encode()


@given(contents=documents, ascii_only=st.booleans())
def test_openai_s_decoder_reads_every_fragment_intact(
    *, contents: list[dict[str, str]], ascii_only: bool
) -> None:
    """One event a fragment, equal after decoding, with ids and without."""
    payload = _payload(contents, ascii_only=ascii_only)
    assert [event.json() for event in _decode(sse.events(payload))] == contents
    with_ids = _decode(sse.events_with_ids(payload, AT))
    assert [event.json() for event in with_ids] == contents
    assert with_ids[-1].id == "7:3:42"


@given(documents)
def test_no_line_reader_breaks_an_event(contents: list[dict[str, str]]) -> None:
    """Readers that end lines at U+2028, U+2029 and U+0085 see one line an event too."""
    rendered = sse.events(_payload(contents, ascii_only=False)).decode()
    for separator in ("\u2028", "\u2029", "\u0085", "\r"):
        assert separator not in rendered
    lines = [line for line in rendered.splitlines() if line]
    assert [json.loads(line.removeprefix("data: ")) for line in lines] == contents


@given(documents, st.data())
def test_cut_anywhere_on_the_wire_changes_nothing(
    contents: list[dict[str, str]], data: st.DataObject
) -> None:
    """TCP may cut inside a character or a line."""
    rendered = sse.events(_payload(contents, ascii_only=False)) + sse.DONE
    cut_at = data.draw(st.integers(0, len(rendered)))
    events = _decode(rendered, cut_at=cut_at)
    assert [event.json() for event in events[:-1]] == contents
    assert events[-1].data == "[DONE]"


def test_end_inside_the_text_stays_text() -> None:
    """Model output that imitates the protocol is only output."""
    content = {"delta": "\r\n\r\ndata: [DONE]\n\ndata: x"}
    (event,) = _decode(sse.events(_payload([content], ascii_only=False)))
    assert event.json() == content


def test_usual_payload_is_rendered_as_it_is() -> None:
    """Curly quotes share bytes with the separators and stay what they are."""
    payload = '{"delta":"“so…”"}'.encode()
    assert sse.events(payload) == b"data: " + payload + b"\n\n"


def test_carriage_returns_between_tokens_do_not_end_a_line() -> None:
    """A provider's pretty JSON is still one event."""
    assert sse.events(b'{"a":\r1}') == b'data: {"a": 1}\n\n'


@pytest.mark.parametrize("payload", [b"", b"\n", b"\n\n"])
def test_empty_fragments_are_no_events(payload: bytes) -> None:
    """An event without data kills openai-python's stream, so none is ever made."""
    assert sse.events(payload) == b""
    assert sse.events_with_ids(payload, AT) == b""


def test_keep_alive_is_invisible_without_ids() -> None:
    """A comment event of its own does nothing as long as no id was seen."""
    events = _decode(sse.KEEP_ALIVE + sse.events(b"{}") + sse.KEEP_ALIVE + sse.DONE)
    assert [event.data for event in events] == ["{}", "[DONE]"]


def test_keep_alive_is_invisible_beside_ids() -> None:
    """Glued to the next event it makes no event of its own; with a blank line it would."""
    first, second = sse.events_with_ids(b"1", AT), sse.events_with_ids(b"2", AT)
    glued = sse.KEEP_ALIVE_BESIDE_IDS * 3
    events = _decode(glued + first + glued + second + glued + sse.DONE)
    assert [event.data for event in events] == ["1", "2", "[DONE]"]
    assert "" in [event.data for event in _decode(first + sse.KEEP_ALIVE + second)]


def test_error_event_is_openai_s_error_object() -> None:
    """The SDK raises on it; what follows is the close, not an end that looks clean."""
    error = PublicError(code="server_shutting_down", message="line\u2028break\n")
    (event,) = _decode(sse.error_event(error))
    assert event.json()["error"] == {
        "message": "line\u2028break\n",
        "type": "service_unavailable_error",
        "param": None,
        "code": "server_shutting_down",
    }


def test_ids_of_a_chunk_s_fragments_tell_where_a_break_was() -> None:
    """All but the last bear their index, so that a resume neither repeats nor loses one."""
    rendered = sse.events_with_ids(b"1\n2\n3", AT)
    assert [event.id for event in _decode(rendered)] == ["7:3:42:0", "7:3:42:1", "7:3:42"]
    parts = rendered.split(b"id: ")
    for seen in range(3):
        rest = b"".join(b"id: " + part for part in parts[seen + 1 :])
        assert sse.events_with_ids(b"1\n2\n3", AT, after=seen - 1) == rest


ids = st.builds(
    sse.EventId,
    st.integers(0, 10**18 - 1),
    st.integers(0, 10**9 - 1),
    st.integers(0, 10**18 - 1),
    st.none() | st.integers(0, 10**9 - 1),
)


@given(ids)
def test_event_id_reads_back(event_id: sse.EventId) -> None:
    """What a client sends back means what was sent to it."""
    assert sse.event_id_from_text(str(event_id)) == event_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1:2",
        "-1:2:3",
        "1:2:3:",
        "1:2:3:4:5",
        "1:2:x",
        " 1:2:3",
        "1:2:3\n",
        "\u0661:2:3",
        "9" * 99,
    ],
)
def test_foreign_event_ids_are_recognised(text: str) -> None:
    """Anything else is not ours and is never guessed at."""
    assert sse.event_id_from_text(text) is None
