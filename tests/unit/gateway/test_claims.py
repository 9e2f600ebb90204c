"""What an ``Idempotency-Key`` means: which headers are one, and what becomes of a request."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.claims import (
    REUSED,
    Others,
    Own,
    frees_key,
    idempotency_key,
    says_no_effect,
    standing,
    stored_chunk,
)
from services.shared.domain.claims import Holder
from services.shared.domain.errors import PublicError, error_document
from services.shared.domain.events import (
    CacheEvidence,
    ChunkKind,
    Failure,
    IdempotencyClaimed,
    InferenceFinished,
    ModelCall,
    Outcome,
    Route,
    Target,
)
from services.shared.domain.terminal import emits_for_failure
from tests.support.example_events import requested
from tests.support.gateway_desk import chunk

VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)
CALL = ModelCall(
    attempt=2, provider="sim", model="small-1", started_ms=1.0, first_chunk_ms=2.0, finished_ms=3.0
)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ([], None),
        ([b"abc"], "abc"),
        ([b'"abc"'], "abc"),
        ([b' "abc"\t'], "abc"),
        ([rb'"a\"b\\c"'], r'a"b\c'),
        ([b'a"b'], 'a"b'),
        ([b"x" * 255], "x" * 255),
        ([b'"' + b"x" * 255 + b'"'], "x" * 255),
        ([b'"' + rb"\"" * 255 + b'"'], '"' * 255),
    ],
)
def test_a_key_is_bare_or_quoted(values: list[bytes], key: str | None) -> None:
    """Both forms of one text are the same key."""
    assert idempotency_key(values) == key


@pytest.mark.parametrize(
    "values",
    [
        [b""],
        [b"  "],
        [b'""'],
        [b"x" * 256],
        [b'"' + b"x" * 256 + b'"'],
        ["schlüssel".encode("latin-1")],
        ["ключ".encode()],
        [b"a\x00b"],
        [b"a\x7fb"],
        [b"a b"],
        [b'"a b"'],
        [b'"abc'],
        [b'"a"b"'],
        [rb'"a\b"'],
        [b'"abc"; v=1'],
        [b"abc", b"abc"],
    ],
)
def test_what_is_no_key_is_refused(values: list[bytes]) -> None:
    """Empty, too long, not visible ASCII, half a string, or two of them."""
    error = idempotency_key(values)
    assert isinstance(error, PublicError)
    assert (error.code, error.param) == ("invalid_header", "Idempotency-Key")


@given(VISIBLE)
def test_any_visible_text_can_be_quoted(text: str) -> None:
    """The quoted form of a text is the key of its bare form."""
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    assert idempotency_key([quoted.encode()]) == text
    if not text.startswith('"'):
        assert idempotency_key([text.encode()]) == text


@pytest.mark.parametrize(
    ("holder_id", "fingerprint", "expected"),
    [("own", "f", Own()), ("other", "f", Others()), ("other", "g", REUSED)],
)
def test_a_request_runs_or_is_answered_from_another(
    holder_id: str, fingerprint: str, expected: Own | Others | PublicError
) -> None:
    """The holder of the key runs; the same request gets its answer; another one is refused."""
    claim = IdempotencyClaimed(tenant="t", key_hash="k", fingerprint="f", request_id="own", at=0)
    assert standing(Holder(holder_id, fingerprint, 0, 0), claim) == expected


def finished(**changes: Any) -> InferenceFinished:
    """A terminal record."""
    fields: dict[str, Any] = {"request_id": "r", "outcome": Outcome.FAILED.value, "finished_at": 10}
    return InferenceFinished(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"outcome": Outcome.EXPIRED.value}, True),
        ({"finished_at": 11}, False),
        ({"calls": (CALL,)}, False),
        ({"outcome": Outcome.COMPLETED.value}, False),
        ({"outcome": Outcome.CANCELLED.value}, False),
    ],
)
def test_only_what_had_no_effect_frees_its_key(changes: dict[str, Any], *, expected: bool) -> None:
    """No answer, no call, nobody's wish, and it had ended when it was asked for again."""
    assert frees_key(finished(**changes), asked_again_ms=10.0) is expected


def test_a_refusal_before_any_call_is_known_by_its_chunk() -> None:
    """An error of no attempt; output or a failed call is an effect."""
    assert says_no_effect(chunk(0, ChunkKind.ERROR, attempt=0))
    assert not says_no_effect(chunk(0, ChunkKind.ERROR, attempt=1))
    assert not says_no_effect(chunk(0, ChunkKind.END, attempt=0))


def test_a_stored_answer_is_the_one_that_was_given() -> None:
    """Byte for byte, with the headers that its client got."""
    target = Target(provider="sim", model="small-1")
    route = Route(
        alias="small", strategy="fixed", reason="r", targets=(target,), config_version="1"
    )
    terminal = finished(
        outcome=Outcome.COMPLETED.value, response=b'{"a": 1}', calls=(CALL,), route=route
    )
    stored = stored_chunk(requested(), terminal)
    assert (stored.kind, stored.payload, stored.status) == ("end", b'{"a": 1}', 200)
    assert stored.headers["x-millrace-attempts"] == "2"
    assert stored.headers["x-millrace-route-target"] == "sim/small-1"
    assert stored.headers["x-cache"] == "miss"


def test_a_stored_hit_names_no_call() -> None:
    """An answer out of the cache was called for by nobody."""
    terminal = finished(
        outcome=Outcome.COMPLETED.value,
        response=b"{}",
        cache=CacheEvidence(outcome="exact_hit", age_s=5, source_request_id="r0"),
    )
    stored = stored_chunk(requested(), terminal)
    assert (stored.headers["x-cache"], stored.headers["age"]) == ("exact_hit", "5")
    assert "x-millrace-attempts" not in stored.headers


def test_a_stored_stream_is_a_stream_again() -> None:
    """Its fragments, joined, are the stored answer."""
    message = {"role": "assistant", "content": "Deep."}
    document = {
        "id": "chatcmpl-x",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    terminal = finished(outcome=Outcome.COMPLETED.value, response=msgspec.json.encode(document))
    stored = stored_chunk(requested(stream=True), terminal)
    fragments = [msgspec.json.decode(line) for line in stored.payload.split(b"\n")]
    words = [each["choices"][0]["delta"].get("content") or "" for each in fragments]
    assert "".join(words) == "Deep."


def test_a_stored_error_is_the_one_that_was_given() -> None:
    """The same document and status as the chunk of the failure."""
    error = PublicError(code="provider_error", message="It broke.", param="model")
    request = requested(reply_partition=0)
    given_chunk: Any = emits_for_failure(request, error, now_ms=0)[0].event
    failure = Failure(code=error.code, message=error.message, param=error.param, status=502)
    stored = stored_chunk(request, finished(error=failure))
    assert (stored.kind, stored.status) == ("error", 502)
    assert stored.payload == given_chunk.payload == error_document(error)
    assert stored.headers["x-should-retry"] == "true"
