"""What to do with a request for which calls were made before. Pure.

============================  =============================  ===============================
what the attempt log knows    who made the last call         then
============================  =============================  ===============================
nothing                       --                             ``Serve`` it, attempt 1
it was ended                  --                             ``Replay`` its terminal record
a call started, or one is     alive (also: this process,     ``Park`` it
over and nothing ended it     which is serving it now)
a call is over, nothing       dead                           ``Serve`` it, the next attempt
ended it
a call started                dead                           ``Settle`` it by policy
============================  =============================  ===============================

A record that was put off says how many calls had been made for its request by then. Where the log
knows of no further one, nobody is at it, and it is served.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from services.model_caller.attempt_index import Ended, OpenAttempt
from services.shared.domain.configuration import Model, OnUnknown
from services.shared.domain.errors import ERRORS, PublicError
from services.shared.domain.events import (
    ChunkKind,
    InferenceFinished,
    ModelCall,
    ModelCallAttempt,
    ResultChunk,
    Target,
)
from services.shared.domain.name_patterns import NamePatterns
from services.shared.domain.terminal import is_leaving

VANISHED = PublicError(
    code="stream_interrupted",
    message="The process that made the model call vanished in the middle of it. Try again.",
)
"""How a request ends whose call must not be repeated."""


class Serve(msgspec.Struct, frozen=True):
    """Call a provider.

    Attributes:
        attempts: Number of attempts made before.
    """

    attempts: int


class Replay(msgspec.Struct, frozen=True):
    """Write the terminal record again that stands in the attempt log.

    Attributes:
        offset: Where.
    """

    offset: int


class Park(msgspec.Struct, frozen=True):
    """Wait: somebody is at it."""


class Settle(msgspec.Struct, frozen=True):
    """Nobody will ever know how the last call ended; what follows is a matter of policy.

    Attributes:
        last: That call.
    """

    last: OpenAttempt


def is_gone(owner: str, *, own: str, holds_slot: bool, is_serving: bool, is_silent: bool) -> bool:
    """Whether nobody is at a request any more.

    Args:
        owner: Who made its last call.
        own: This process, as an owner.
        holds_slot: Whether this process holds its slot by a lock: then another owner of that slot
            is dead.
        is_serving: Whether this process is at it.
        is_silent: Whether the owner gave no sign of life for long.
    """
    if owner == own:
        return not is_serving
    if holds_slot and slot_of(owner) == slot_of(own):
        return True
    return is_silent


def slot_of(owner: str) -> str:
    """The slot of an owner, or its service where it holds none."""
    return owner.rpartition(".")[0]


def on_delivery(
    known: OpenAttempt | Ended | None, *, owner_is_gone: bool, put_off_after: int = 0
) -> Serve | Replay | Park | Settle:
    """Decide what to do with a request; see the table above.

    Args:
        known: What the attempt log knows.
        owner_is_gone: Whether nobody is at it who made its last call.
        put_off_after: Number of calls made for it when its record was put off; 0 = it was not, or
            before any call.
    """
    match known:
        case None:
            return Serve(put_off_after)
        case Ended(offset=offset):
            return Replay(offset)
        case OpenAttempt(attempt=attempt) if attempt <= put_off_after:
            return Serve(put_off_after)
        case OpenAttempt() if not owner_is_gone:
            return Park()
        case OpenAttempt(is_finished=True, attempt=attempt):
            return Serve(attempt)
        case OpenAttempt():
            return Settle(known)


def targets_to_ask(
    targets: Sequence[Target], known: OpenAttempt | Ended | None
) -> tuple[list[Target], bool]:
    """The targets that are still to be asked, at least the last; whether some are left out.

    Those up to one whose answer was not good enough are not asked again.
    """
    left = known.left if isinstance(known, OpenAttempt) else ()
    asked = [i for i, target in enumerate(targets) if f"{target.provider}/{target.model}" in left]
    first = min(asked[-1] + 1, len(targets) - 1) if asked else 0
    return list(targets[first:]), bool(asked)


def was_left(chunks: Sequence[ResultChunk]) -> bool:
    """Whether a request was over for its caller before its stream ended.

    Args:
        chunks: All of the request's chunks on its reply partition, in log order.
    """
    stream = stream_of(chunks)
    for chunk in chunks:
        if is_leaving(chunk):
            return True
        if stream and chunk is stream[-1] and chunk.kind != ChunkKind.DELTA:
            return False
    return False


class CallAgain(msgspec.Struct, frozen=True):
    """Nothing of the vanished call reached anybody."""


class EndWith(msgspec.Struct, frozen=True):
    """End the request with an error.

    Attributes:
        error: The error.
        is_told: Whether the client has it already.
        seq: Where in the client's stream it stands.
    """

    error: PublicError
    is_told: bool = False
    seq: int = 0


class Recover(msgspec.Struct, frozen=True):
    """The client has the whole answer; so it can be read from the chunks.

    Attributes:
        chunks: Its stream, in order.
    """

    chunks: tuple[ResultChunk, ...]


def after_vanishing(
    policy: OnUnknown, chunks: Sequence[ResultChunk]
) -> CallAgain | EndWith | Recover:
    """Decide what follows a call whose owner vanished.

    Args:
        policy: What the model's alias says.
        chunks: All of the request's chunks on its reply partition, in log order.
    """
    stream = stream_of(chunks)
    if not stream:
        return CallAgain() if policy is OnUnknown.RETRY else EndWith(VANISHED)
    match stream[-1].kind:
        case ChunkKind.END:
            return Recover(stream)
        case ChunkKind.ERROR:
            return EndWith(_error_in(stream[-1]), is_told=True)
        case _:
            return EndWith(VANISHED, seq=stream[-1].seq + 1)


def stream_of(chunks: Sequence[ResultChunk]) -> tuple[ResultChunk, ...]:
    """The chunks that a reader takes: those of the first attempt with output, to the first end.

    Each of them once, and none after one that is missing: a reader goes no further there.
    """
    stream: list[ResultChunk] = []
    for chunk in chunks:
        match chunk.kind:
            case ChunkKind.DELTA | ChunkKind.END:
                first = stream[0] if stream else chunk
                is_foreign = (first.run, first.attempt) != (chunk.run, chunk.attempt)
                if is_foreign or chunk.seq < len(stream):
                    continue
                if chunk.seq > len(stream):
                    break
            case ChunkKind.ERROR if not is_leaving(chunk):  # others go on reading after that
                pass
            case _:
                continue
        stream.append(chunk)
        if chunk.kind != ChunkKind.DELTA:
            break
    return tuple(stream)


class _Document(msgspec.Struct):
    error: "_Error"


class _Error(msgspec.Struct):
    message: str = ""
    code: str | None = None
    param: str | None = None


def _error_in(chunk: ResultChunk) -> PublicError:
    try:
        error = msgspec.json.decode(chunk.payload, type=_Document).error
    except msgspec.DecodeError:
        return VANISHED
    if error.code not in ERRORS:
        return VANISHED
    return PublicError(code=error.code, message=error.message, param=error.param or "")


def policies(models: Mapping[str, Model]) -> Callable[[str], OnUnknown]:
    """What each alias says of calls whose end nobody knows; patterns are followed."""
    patterns = NamePatterns(models)

    def policy_of(alias: str) -> OnUnknown:
        match = patterns.find(alias)
        return OnUnknown.RETRY if match is None else match.value.on_unknown

    return policy_of


def call_that_ended(finished: ModelCallAttempt, terminal: InferenceFinished) -> ModelCall | None:
    """The call that ended a request; None = it was ended without another call."""
    if not finished.provider:
        return None
    return next((it for it in terminal.calls if it.attempt == finished.attempt), None)
