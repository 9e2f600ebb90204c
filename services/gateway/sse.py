"""Server-sent events as OpenAI's clients read them. Pure.

Two rules come from those clients. openai-python dispatches an event at every blank line once any
``id:`` was seen, and dies on its empty data: so ids are sent only to clients that asked for them,
and to those a keep-alive is a comment *without* the blank line, glued to the next event. And a line
ends, for some readers, at U+2028, U+2029 and U+0085 too: inside JSON they are escaped.
"""

import re

import msgspec

from services.shared.domain.errors import PublicError, error_document

_DONE = b"[DONE]"
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": ping\n\n"
KEEP_ALIVE_BESIDE_IDS = b": ping\n"

_LINE_ENDS = {
    b"\xe2\x80\xa8": rb"\u2028",
    b"\xe2\x80\xa9": rb"\u2029",
    b"\xc2\x85": rb"\u0085",
    b"\r": b" ",  # raw only between JSON's tokens, where a blank means the same
}
_EVENT_ID = re.compile(r"(\d{1,18}):(\d{1,9}):(\d{1,18})(?::(\d{1,9}))?", re.ASCII)


class EventId(msgspec.Struct, frozen=True):
    """Where in a stream an event stands; what a client sends back as ``Last-Event-ID``.

    A chunk may hold several fragments and the connection may break between two of them. The last
    fragment bears the chunk's own id; the ones before it bear their index as well, so that a
    resume neither repeats nor loses one.

    Attributes:
        seq: Sequence number of the chunk in its attempt.
        partition: Partition of ``result-chunks``.
        offset: Offset of the chunk there.
        fragment: Index of the fragment, from 0; None for the chunk's last.
    """

    seq: int
    partition: int
    offset: int
    fragment: int | None = None

    def __str__(self) -> str:
        """Render ``seq:partition:offset``, with ``:fragment`` where the chunk goes on."""
        whole = f"{self.seq}:{self.partition}:{self.offset}"
        return whole if self.fragment is None else f"{whole}:{self.fragment}"


def event_id_from_text(text: str) -> EventId | None:
    """Read a ``Last-Event-ID``; None when it is not one of ours."""
    match = _EVENT_ID.fullmatch(text)
    if match is None:
        return None
    seq, partition, offset, fragment = match.groups()
    return EventId(
        int(seq), int(partition), int(offset), None if fragment is None else int(fragment)
    )


def events(payload: bytes) -> bytes:
    r"""Render a chunk's payload as events without ids.

    Args:
        payload: Compact JSON fragments separated by ``\n``; each becomes one event. Empty ones
            say nothing and are left out.
    """
    payload = _on_one_line(payload)
    if b"\n" not in payload:
        return b"data: %b\n\n" % payload if payload else b""
    return b"".join([b"data: %b\n\n" % part for part in payload.split(b"\n") if part])


def fragments(payload: bytes, *, is_end: bool = False) -> list[bytes]:
    """What each event of a chunk says, one item an event.

    Args:
        payload: As in ``events``.
        is_end: Whether the chunk ends the stream whole, so that ``[DONE]`` is its last event.
    """
    parts = [part for part in _on_one_line(payload).split(b"\n") if part]
    return [*parts, _DONE] if is_end else parts


def events_with_ids(
    payload: bytes, event_id: EventId, *, after: int = -1, is_end: bool = False
) -> bytes:
    """Render a chunk's payload as events with ids, for a client that may resume.

    Args:
        payload: As in ``events``.
        event_id: The chunk's own id.
        after: Leave out the fragments up to this index: the client has them.
        is_end: As in ``fragments``.
    """
    parts = fragments(payload, is_end=is_end)
    last = len(parts) - 1
    rendered = []
    for index, part in enumerate(parts):
        if index <= after:
            continue
        fragment = None if index == last else index
        own_id = EventId(event_id.seq, event_id.partition, event_id.offset, fragment)
        rendered.append(b"id: %b\ndata: %b\n\n" % (str(own_id).encode(), part))
    return b"".join(rendered)


def error_event(error: PublicError) -> bytes:
    """Render an error in a stream; the connection ends after it, without ``[DONE]``."""
    return events(error_document(error))


def _on_one_line(payload: bytes) -> bytes:
    # Two searches tell the usual payload apart from one that needs the replacements.
    if b"\xe2\x80" in payload or b"\xc2\x85" in payload or b"\r" in payload:
        for raw, escaped in _LINE_ENDS.items():
            payload = payload.replace(raw, escaped)
    return payload
