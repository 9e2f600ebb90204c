"""What an ``Idempotency-Key`` means for a request. Pure."""

import re
from collections.abc import Sequence

import msgspec

from services.shared.domain.claims import Holder
from services.shared.domain.errors import PublicError, error_document
from services.shared.domain.events import (
    ChunkKind,
    IdempotencyClaimed,
    InferenceFinished,
    InferenceRequested,
    Outcome,
    ResultChunk,
    Target,
)
from services.shared.domain.evidence import cache_headers, route_headers
from services.shared.domain.replay import replayed_stream
from services.shared.domain.terminal import retry_headers

HEADER = b"idempotency-key"
REPLAYED_HEADER = "idempotency-replayed"
_BARE = re.compile(rb"[!#-~][!-~]{0,254}")
_QUOTED = re.compile(rb'"((?:[!#-\[\]-~]|\\["\\]){1,255})"')  # RFC 8941 § 3.3.3, without blanks
_ESCAPED = re.compile(rb'\\(["\\])')
_INVALID = PublicError(
    code="invalid_header",
    message="Send one 'Idempotency-Key' of 1 to 255 visible ASCII characters, bare or in quotes.",
    param="Idempotency-Key",
)
REUSED = PublicError(
    code="idempotency_key_reused",
    message=(
        "This 'Idempotency-Key' was used for another request in the last 24 hours. Send a new key "
        "with a new request, and the same body to get the same answer."
    ),
    param="Idempotency-Key",
)


class Own(msgspec.Struct, frozen=True):
    """The key stands for this request: it is to be run."""


class Others(msgspec.Struct, frozen=True):
    """The key stands for another request, whose answer is the answer."""


def idempotency_key(values: Sequence[bytes]) -> str | PublicError | None:
    """The key that a request was sent with, bare or as a quoted string; None = none.

    Args:
        values: Every ``Idempotency-Key`` header of the request.
    """
    if not values:
        return None
    value = values[0].strip()
    quoted = _QUOTED.fullmatch(value)
    if len(values) > 1 or not (quoted or _BARE.fullmatch(value)):
        return _INVALID
    return (_ESCAPED.sub(rb"\1", quoted[1]) if quoted else value).decode("ascii")


def standing(holder: Holder, claim: IdempotencyClaimed) -> Own | Others | PublicError:
    """What becomes of a request.

    Args:
        holder: Who holds its key.
        claim: Its own claim, made or not.
    """
    if holder.request_id == claim.request_id:
        return Own()
    return Others() if holder.fingerprint == claim.fingerprint else REUSED


def says_no_effect(chunk: ResultChunk) -> bool:
    """Whether the first chunk of an answer is the whole of it: refused before any call was made."""
    return chunk.kind == ChunkKind.ERROR and chunk.attempt == 0


def frees_key(finished: InferenceFinished, *, asked_again_ms: float) -> bool:
    """Whether a request ended so that its key may be used again: no answer, and no call was made.

    All that had an effect is replayed, errors included. Who waited while it ended gets its end;
    only who asks afterwards may try anew: else all who wait would try again, one after the other.

    Args:
        finished: The request of the claim.
        asked_again_ms: When the request arrived that bears the key again, unix ms.
    """
    return (
        finished.outcome in {Outcome.FAILED, Outcome.EXPIRED}
        and not finished.calls
        and finished.finished_at <= asked_again_ms
    )


def stored_chunk(request: InferenceRequested, finished: InferenceFinished) -> ResultChunk:
    """The answer of a finished request as the one chunk that its client would have got.

    Args:
        request: The request under the id that it ran under.
        finished: Its terminal record.
    """
    last = finished.calls[-1] if finished.calls else None
    served_by = None if last is None else Target(provider=last.provider, model=last.model)
    headers = {**cache_headers(finished.cache), **route_headers(finished.route, served_by)}
    if last is not None:
        headers["x-millrace-attempts"] = str(last.attempt)
    chunk = ResultChunk(
        request_id=request.request_id,
        attempt=0 if last is None else last.attempt,
        seq=0,
        kind=ChunkKind.END.value,
        payload=b"",
        headers=headers,
    )
    if finished.error is not None:
        failure = finished.error
        error = PublicError(code=failure.code, message=failure.message, param=failure.param)
        return msgspec.structs.replace(
            chunk,
            kind=ChunkKind.ERROR.value,
            payload=error_document(error),
            status=failure.status,
            headers={**headers, **retry_headers(error)},
        )
    payload = finished.response
    if request.stream:
        payload = replayed_stream(request, finished.response)
    return msgspec.structs.replace(chunk, payload=payload)
