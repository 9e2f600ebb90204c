"""The simulator's own record of what it was asked: the truth about paid calls in tests."""

from collections import deque

import msgspec

from services.simulator.behaviour import Operation

_WATCHED = frozenset(
    {
        b"idempotency-key",
        b"traceparent",
        b"tracestate",
        b"x-client-request-id",
        b"x-request-id",
        b"x-stainless-retry-count",
    }
)
_WATCHED_PREFIXES = (b"millrace-", b"x-millrace-")
_MAX_VALUE_BYTES = 256


class Call(msgspec.Struct, kw_only=True):
    """One call, from its arrival on.

    Attributes:
        id: Counts up from 1 in each process.
        request_id: ``x-request-id`` of the answer.
        operation: What was asked.
        model: As asked for; "" = none was readable.
        inputs: Conversations, prompts or texts in the call.
        started_ms: Unix ms of arrival.
        finished_ms: Unix ms of the last byte; None = still going.
        status: HTTP status; 0 = none was sent (yet).
        outcome: ``open``, ``ok``, ``refused``, ``client_gone``, ``eof``, ``reset``, ``hang``.
        input_tokens: Estimated.
        output_tokens: Planned; what a provider would bill.
        stream: Whether a stream was asked for.
        headers: Those received that name an attempt: idempotency, trace, retry, Millrace's own.
    """

    id: int
    request_id: str
    operation: Operation
    started_ms: int
    headers: dict[str, str]
    model: str = ""
    inputs: int = 0
    finished_ms: int | None = None
    status: int = 0
    outcome: str = "open"
    input_tokens: int = 0
    output_tokens: int = 0
    stream: bool = False


class CallPage(msgspec.Struct, frozen=True):
    """A part of the log, oldest first.

    Attributes:
        data: The calls.
        total: Calls since the process started.
        dropped: Of those, how many the bounded log has forgotten.
        has_more: Whether later calls follow.
        object: As OpenAI's lists have it.
    """

    data: list[Call]
    total: int
    dropped: int
    has_more: bool
    object: str = "list"


class CallLog:
    """The latest calls, appended at their start."""

    def __init__(self, *, most: int) -> None:
        self._calls: deque[Call] = deque(maxlen=most)
        self.total = 0

    def append(self, call: Call) -> None:
        """Remember a call; the oldest is forgotten when the log is full."""
        self._calls.append(call)
        self.total += 1

    def page(self, *, after: int = 0, model: str = "", most: int = 1_000) -> CallPage:
        """Read calls with an id above ``after``; of one model where one is named."""
        found = [
            call for call in self._calls if call.id > after and (not model or call.model == model)
        ]
        dropped = self.total - len(self._calls)
        return CallPage(found[:most], self.total, dropped, has_more=len(found) > most)


def watched_headers(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """The request headers that say which attempt a call is; names are lower-case."""
    return {
        name.decode("latin-1"): value[:_MAX_VALUE_BYTES].decode("latin-1")
        for name, value in headers
        if name in _WATCHED or name.startswith(_WATCHED_PREFIXES)
    }
