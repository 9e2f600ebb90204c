"""A history in which everything is as promised, and small ways to spoil it."""

import json
import struct
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tests.faults.checker.history import (
    Call,
    Entry,
    Event,
    Fault,
    Health,
    History,
    Lag,
    Operation,
    Poison,
)

START_S = 1_000.0
START_MS = 1_000_000
WORDS = ("alpha-word", " one", " two", " three")
TEXT = "".join(WORDS)
CANARIES = {"alpha": "alpha-word", "beta": "beta-word"}
SECRET = "gw_live_key_secret"

STREAMED, HIT, UNKNOWN, RESUMED, CANCELLED, JOINED, KEYED = (
    "req_streamed", "req_hit", "req_unknown", "req_resumed", "req_cancelled", "req_joined",
    "req_keyed",
)  # fmt: skip
POISONED = "req_poisoned"


def body(text: str = TEXT) -> str:
    """An answer in one piece."""
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})


def stream(*words: str, first_seq: int = 0, is_whole: bool = True) -> tuple[Event, ...]:
    """An answer in events, each a chunk of its own."""
    pieces = [json.dumps({"choices": [{"delta": {"content": word}}]}) for word in words]
    if is_whole:
        pieces.append(json.dumps({"choices": [{"delta": {}, "finish_reason": "stop"}]}))
    events = [
        Event(data=piece, id=f"{first_seq + n}:0:{100 + first_seq + n}")
        for n, piece in enumerate(pieces)
    ]
    return (*events, Event(data="[DONE]")) if is_whole else tuple(events)


def asked(op: int, request_id: str, **fields: Any) -> Operation:
    """A request that was answered whole."""
    defaults: dict[str, Any] = {
        "tenant": "alpha", "verdict": "ok", "status": 200, "invoked_s": START_S + op,
        "ended_s": START_S + op + 0.5, "expected": TEXT, "fingerprint": "f1",
    }  # fmt: skip
    if not fields.get("is_stream"):
        defaults["body"] = body()
    return Operation(op=op, request_id=request_id, **{**defaults, **fields})


def entry(topic: str, offset: int, record: Mapping[str, Any] | None, **fields: Any) -> Entry:
    """A record in the log."""
    return Entry(topic=topic, offset=offset, record=record, **{"at_ms": START_MS, **fields})


def usage(input_tokens: int = 10, output_tokens: int = 4) -> dict[str, Any]:
    """Tokens."""
    return {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "is_estimated": False,
    }


def terminal(request_id: str, *, outcome: str = "completed", cache: str = "miss") -> dict[str, Any]:
    """A terminal record."""
    is_answered = outcome == "completed"
    call = {"attempt": 1, "cost_nanousd": 7}
    return {
        "request_id": request_id,
        "outcome": outcome,
        "cache": {"outcome": cache},
        "response": body().encode() if is_answered else b"",
        "calls": [call] if is_answered and cache == "miss" else [],
    }


def row(request_id: str, *, kind: str = "attempt", **fields: Any) -> dict[str, Any]:
    """A row of the ledger."""
    paid = kind in {"attempt", "unknown"}
    return {
        "row_id": f"{request_id}-{int(paid)}", "kind": kind, "request_id": request_id,
        "attempt": int(paid), "usage": usage(), "cost_nanousd": 7 if paid else 0,
        "error_code": "", **fields,
    }  # fmt: skip


def attempt(request_id: str, *, kind: str = "started") -> dict[str, Any]:
    """A record of the attempt log."""
    return {"request_id": request_id, "attempt": 1, "kind": kind, "owner": "model-caller.1"}


def call(request_id: str, **fields: Any) -> Call:
    """A call that the provider wrote down."""
    defaults: dict[str, Any] = {
        "id": f"call-{request_id}",
        "attempt_id": f"{request_id}-1",
        "started_ms": START_MS + 10,
        "input_tokens": 10,
        "output_tokens": 4,
    }
    return Call(**{**defaults, **fields})


def dead_letter(offset: int = 0, *, value: bytes = b"junk") -> Entry:
    """The dead letter of the poison record."""
    headers = (
        ("millrace-request-id", POISONED.encode()),
        ("kafka_dlt-original-topic", b"inference-requests-p0"),
        ("kafka_dlt-original-partition", struct.pack(">i", 0)),
        ("kafka_dlt-original-offset", struct.pack(">q", 90)),
        ("kafka_dlt-exception-fqcn", b"millrace.decode_error"),
    )
    return entry("inference-requests-p0-dlq", offset, None, value=value, headers=headers)


def _operations() -> tuple[Operation, ...]:
    cut = stream(*WORDS[:2], is_whole=False)
    return (
        asked(1, STREAMED, is_stream=True, events=stream(*WORDS)),
        asked(2, HIT),
        asked(3, UNKNOWN, is_stream=True, verdict="info", is_cut=True,
              events=stream(WORDS[0], is_whole=False)),
        asked(4, RESUMED, is_stream=True, verdict="info", is_left=True, events=cut),
        asked(5, "", kind="resume", is_stream=True, target=RESUMED, after=cut[-1].id,
              events=stream(*WORDS[2:], first_seq=2), gateway="gateway-1"),
        asked(6, CANCELLED, is_stream=True, verdict="info", error_code="request_cancelled",
              events=(*cut, Event(data='{"error": {"code": "request_cancelled"}}'))),
        asked(7, "", kind="cancel", target=CANCELLED, body="{}"),
        asked(8, JOINED, is_stream=True, events=stream(*WORDS)),
        asked(9, KEYED, key="k1"),
        asked(10, KEYED, key="k1"),
        asked(11, "", key="k1", fingerprint="f2", status=422, verdict="fail", body="{}"),
        asked(12, "", kind="look", target=STREAMED, body="completed"),
    )  # fmt: skip


def good() -> History:
    """Streams, a hit, a join, a lost caller, a resume, a cancel, a key, poison: all as promised."""
    called = (STREAMED, UNKNOWN, RESUMED, CANCELLED, KEYED)
    requests = (*called, HIT, JOINED)
    outcomes = {UNKNOWN: "failed", CANCELLED: "cancelled"}
    caches = {HIT: "exact_hit", JOINED: "joined"}
    kinds = {UNKNOWN: "unknown", HIT: "hit", JOINED: "join"}
    poison = entry(
        "inference-requests-p0", 90, None, value=b"junk",
        headers=(("millrace-request-id", POISONED.encode()),),
    )  # fmt: skip
    routed = [{"request": {"request_id": name}} for name in called]
    entries = [
        *(entry("inference-requests-p0", n, {"request_id": r}) for n, r in enumerate(requests)),
        poison,
        *(entry("cache-misses", n, each) for n, each in enumerate(routed)),
        *(entry("routed-requests", n, each) for n, each in enumerate(routed)),
        entry("request-batches-p0", 0, {"members": routed}),
        *(entry("model-call-attempts", n, attempt(r)) for n, r in enumerate(called)),
        *(
            entry(
                "inference-results", n, at_ms=START_MS + 400,
                record=terminal(r, outcome=outcomes.get(r, "completed"),
                                cache=caches.get(r, "miss")),
            )
            for n, r in enumerate(requests)
        ),
        entry("inference-results", 90, terminal(POISONED, outcome="failed")),
        *(
            entry("usage-ledger", n, row(r, kind=kinds.get(r, "attempt")))
            for n, r in enumerate(requests)
        ),
        dead_letter(),
    ]  # fmt: skip
    topics: dict[str, list[Entry]] = {}
    for each in entries:
        topics.setdefault(each.topic, []).append(each)
    fault = Fault(
        name="gateway killed", begun_s=START_S + 2, healed_s=START_S + 2.6, victims=("gateway",),
        evidence="another pid",
    )  # fmt: skip
    return History(
        operations=_operations(),
        topics=topics,
        calls=tuple(call(r, outcome="client_gone" if r in outcomes else "ok") for r in called),
        lags=(Lag(group="router", topic="cache-misses", partition=0, committed=5, end=5),),
        faults=(fault,),
        health=(Health(at_s=START_S + 4, gateway="gateway-1", livez=200, readyz=200),),
        poisons=(Poison(topic="inference-requests-p0", partition=0, offset=90),),
        canaries=CANARIES,
        secrets=(SECRET,),
    )


def with_operation(op: int, **fields: Any) -> History:
    """The good history with one operation changed."""
    history = good()
    changed = tuple(
        msgspec.structs.replace(each, **fields) if each.op == op else each
        for each in history.operations
    )
    return msgspec.structs.replace(history, operations=changed)


def with_entries(topic: str, change: Callable[[list[Entry]], list[Entry]]) -> History:
    """The good history with the records of one topic changed."""
    history = good()
    topics = {**history.topics, topic: change(list(history.topics.get(topic, ())))}
    return msgspec.structs.replace(history, topics=topics)


def without_request(topic: str, request_id: str) -> History:
    """The good history without what a topic says of a request."""
    return with_entries(
        topic,
        lambda entries: [
            e for e in entries if e.record is None or e.record.get("request_id") != request_id
        ],
    )


def with_more(topic: str, offset: int, record: Mapping[str, Any] | None, **fields: Any) -> History:
    """The good history with one record more, in its place in the log."""
    return with_entries(topic, lambda entries: [*entries, entry(topic, offset, record, **fields)])


def with_calls(*calls: Call) -> History:
    """The good history with more calls."""
    history = good()
    return msgspec.structs.replace(history, calls=(*history.calls, *calls))
