"""Who may ask, which chunks are the answer, and where a reader goes on."""

from collections.abc import Iterable, Mapping
from urllib.parse import parse_qs

import msgspec

from services.gateway.sse import EventId, event_id_from_text
from services.shared.domain.configuration import VirtualKey
from services.shared.domain.errors import PublicError
from services.shared.domain.events import ChunkKind, ResultChunk
from services.shared.domain.keys import is_key, key_hash, parse_key
from services.shared.domain.terminal import is_closing, is_leaving

_NO_SUCH_HASH = "0" * 64
INVALID_KEY = PublicError(
    code="invalid_api_key",
    message=(
        "The API key is missing or not valid. Send it as 'Authorization: Bearer gw_...'; the local "
        "stack keeps one in its data folder, in 'dev-key'."
    ),
)

BAD_CURSOR = PublicError(
    code="invalid_cursor",
    message=(
        "'Last-Event-ID' and 'starting_after' take the last 'id:' that you got of this stream, or "
        "the number of events that you have read."
    ),
    param="starting_after",
)
_MAX_COUNT_DIGITS = 9
_MAX_KEY_CHARACTERS = 512


def known_keys(keys: Iterable[VirtualKey]) -> dict[str, VirtualKey]:
    """Keys as ``authenticate`` finds them: by their public id, and by their hash."""
    known = {}
    for key in keys:
        known[key.hash] = known[key.id] = key
    return known


def authenticate(
    authorization: list[bytes], keys: Mapping[str, VirtualKey]
) -> VirtualKey | PublicError:
    """Find the key that a request was sent with.

    An unknown key, a revoked one and a wrong one are told apart neither by the answer nor by the
    time it takes. A key of ours is found by the id in it, one that came from elsewhere by its hash.

    Args:
        authorization: Every ``Authorization`` header of the request.
        keys: Keys by their public id and by their hash.
    """
    if len(authorization) != 1:
        return INVALID_KEY
    try:
        scheme, _, text = authorization[0].decode("ascii").partition(" ")
    except UnicodeDecodeError:
        return INVALID_KEY
    text = text.strip()
    if scheme.lower() != "bearer" or not 0 < len(text) <= _MAX_KEY_CHARACTERS:
        return INVALID_KEY
    parsed = parse_key(text)
    key = keys.get(key_hash(text) if parsed is None else parsed.key_id)
    matches = is_key(text, key.hash if key is not None else _NO_SUCH_HASH)
    if key is None or not matches or key.disabled:
        return INVALID_KEY
    return key


def read_cursor(last_event_id: str, query: str) -> EventId | int | PublicError:
    """Where a client wants its stream to go on.

    Args:
        last_event_id: The header of that name, which comes first; empty = none.
        query: The query string, which may name the same as ``starting_after``.

    Returns:
        The last event that the client has, or how many events it has; 0 = none.
    """
    values = parse_qs(query, keep_blank_values=True).get("starting_after", [])
    cursor = last_event_id or (values[0] if values else "0")
    if len(cursor) <= _MAX_COUNT_DIGITS and cursor.isascii() and cursor.isdigit():
        return int(cursor)
    return event_id_from_text(cursor) or BAD_CURSOR


def code_of(chunk: ResultChunk) -> str:
    """The code of the error that a chunk is, or nothing."""
    if chunk.kind != ChunkKind.ERROR:
        return ""
    try:
        code = msgspec.json.decode(chunk.payload)["error"]["code"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return "unknown"
    return str(code)


class View(msgspec.Struct):
    """What of a request's chunks has been taken for the answer.

    Attributes:
        run: The run that is the stream; None = none yet.
        attempt: The attempt that is the stream.
        next_seq: The chunk that has to come next.
        leader: The request whose chunks are the answer, where this one joined it; empty = its own.
        has_leader_failed: The leader ended in an error before it said anything.
        has_leader_ended: The leader has said all.
        is_closed: The request said that it ends as its leader does.
    """

    run: str | None = None
    attempt: int = 0
    next_seq: int = 0
    leader: str = ""
    has_leader_failed: bool = False
    has_leader_ended: bool = False
    is_closed: bool = False


class Take(msgspec.Struct, frozen=True):
    """The chunk is the next piece of the answer."""

    is_last: bool


class Keep(msgspec.Struct, frozen=True):
    """The chunk is the last piece of the answer, once the request says that it ends so."""


class Close(msgspec.Struct, frozen=True):
    """The request says that it ends as the one that it joined: what was kept is the last piece."""


class Pass(msgspec.Struct, frozen=True):
    """The chunk says nothing new: it was taken before, or does not count."""


class Rival(msgspec.Struct, frozen=True):
    """The chunk belongs to another run or attempt: the process of this one may be gone."""


class Gap(msgspec.Struct, frozen=True):
    """Chunks are missing: the stream cannot go on."""


class Bereft(msgspec.Struct, frozen=True):
    """The request whose chunks were followed was ended for reasons of its own."""


Verdict = Take | Keep | Close | Pass | Rival | Gap | Bereft

_OWN_ENDS = frozenset({"request_cancelled", "deadline_exceeded"})


def accept(view: View, chunk: ResultChunk) -> Verdict:
    """Take the next chunk of the answer; in log order, the first attempt with output is it.

    An error of whatever attempt ends the answer: only who is entitled to end a request writes one.
    A request that joined another one gets that one's chunks, until it has its own to go on with.
    How it ends it says itself: it may be cancelled while the other one is answered to its end, and
    what its client is told last has to be what stands in its terminal record.

    Args:
        view: What has been taken so far; is updated.
        chunk: A chunk of the request, or of the one that it joined.
    """
    if view.leader:
        if chunk.request_id == view.leader:
            return _accept_of_leader(view, chunk)
        if is_closing(chunk) or (view.run is not None and chunk.kind == ChunkKind.END):
            view.is_closed = True
            return Close()
        if view.run is not None:  # what the leader said was passed on: only an end may follow
            return Take(is_last=True) if chunk.kind == ChunkKind.ERROR else Pass()
        view.leader, view.has_leader_failed = "", False
    if chunk.kind == ChunkKind.JOINED:
        if view.run is None:
            view.leader = chunk.payload.decode("ascii", "replace")
        return Pass()
    return _accept_next(view, chunk)


def _accept_of_leader(view: View, chunk: ResultChunk) -> Verdict:
    is_over = view.has_leader_failed or view.has_leader_ended
    if is_over or chunk.kind == ChunkKind.JOINED or is_leaving(chunk):
        return Pass()
    if chunk.kind == ChunkKind.ERROR and view.run is None:
        view.has_leader_failed = True  # whoever joined is told otherwise what follows
        return Pass()
    if code_of(chunk) in _OWN_ENDS:
        return Bereft()
    verdict = _accept_next(view, chunk)
    if chunk.kind != ChunkKind.END or not isinstance(verdict, Take):
        return verdict
    view.has_leader_ended = True
    return verdict if view.is_closed else Keep()


def _accept_next(view: View, chunk: ResultChunk) -> Verdict:
    if view.run is None:
        if chunk.seq != 0:
            return Gap()
        view.run, view.attempt = chunk.run, chunk.attempt
    elif (view.run, view.attempt) != (chunk.run, chunk.attempt):
        return Take(is_last=True) if chunk.kind == ChunkKind.ERROR else Rival()
    if chunk.seq < view.next_seq:
        return Pass()
    if chunk.seq > view.next_seq:
        return Gap()
    view.next_seq += 1
    return Take(is_last=chunk.kind != ChunkKind.DELTA)
