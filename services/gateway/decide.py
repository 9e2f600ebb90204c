"""Who may ask, and which chunks are the answer."""

from collections.abc import Mapping

import msgspec

from services.shared.domain.configuration import VirtualKey
from services.shared.domain.errors import PublicError
from services.shared.domain.events import ChunkKind, ResultChunk
from services.shared.domain.keys import is_key, parse_key

_NO_SUCH_HASH = "0" * 64
INVALID_KEY = PublicError(
    code="invalid_api_key",
    message=(
        "The API key is missing or not valid. Send it as 'Authorization: Bearer gw_...'; the local "
        "stack keeps one in its data folder, in 'dev-key'."
    ),
)


def authenticate(
    authorization: list[bytes], keys: Mapping[str, VirtualKey]
) -> VirtualKey | PublicError:
    """Find the key that a request was sent with.

    An unknown key, a revoked one and a wrong one are told apart neither by the answer nor by the
    time it takes.

    Args:
        authorization: Every ``Authorization`` header of the request.
        keys: Keys by their public id.
    """
    if len(authorization) != 1:
        return INVALID_KEY
    try:
        scheme, _, text = authorization[0].decode("ascii").partition(" ")
    except UnicodeDecodeError:
        return INVALID_KEY
    parsed = parse_key(text.strip())
    if scheme.lower() != "bearer" or parsed is None:
        return INVALID_KEY
    key = keys.get(parsed.key_id)
    matches = is_key(text.strip(), key.hash if key is not None else _NO_SUCH_HASH)
    if key is None or not matches or key.disabled:
        return INVALID_KEY
    return key


class View(msgspec.Struct):
    """What of a request's chunks has been taken for the answer.

    Attributes:
        run: The run that is the stream; None = none yet.
        attempt: The attempt that is the stream.
        next_seq: The chunk that has to come next.
    """

    run: str | None = None
    attempt: int = 0
    next_seq: int = 0


class Take(msgspec.Struct, frozen=True):
    """The chunk is the next piece of the answer."""

    is_last: bool


class Repeated(msgspec.Struct, frozen=True):
    """The chunk was taken before."""


class Rival(msgspec.Struct, frozen=True):
    """The chunk belongs to another run or attempt: the process of this one may be gone."""


class Gap(msgspec.Struct, frozen=True):
    """Chunks are missing: the stream cannot go on."""


def accept(view: View, chunk: ResultChunk) -> Take | Repeated | Rival | Gap:
    """Take the next chunk of the answer; in log order, the first attempt with output is it.

    Args:
        view: What has been taken so far; is updated.
        chunk: A chunk of the same request.
    """
    if view.run is None:
        if chunk.seq != 0:
            return Gap()
        view.run, view.attempt = chunk.run, chunk.attempt
    elif (view.run, view.attempt) != (chunk.run, chunk.attempt):
        return Rival()
    if chunk.seq < view.next_seq:
        return Repeated()
    if chunk.seq > view.next_seq:
        return Gap()
    view.next_seq += 1
    return Take(is_last=chunk.kind != ChunkKind.DELTA)
