"""Errors: a code fixes everything else, and clients of OpenAI understand them."""

import msgspec
import pytest

from services.shared.domain.errors import (
    ERRORS,
    FaultDomain,
    InvalidConfiguration,
    MillraceError,
    MustStop,
    PoisonRecord,
    PublicError,
    Unavailable,
    error_document,
)

TYPES_BY_STATUS = {
    408: {"invalid_request_error"},
    429: {"requests", "tokens", "rate_limit_error", "insufficient_quota"},
    503: {"service_unavailable_error"},
    504: {"timeout_error"},
}


@pytest.mark.parametrize("code", ERRORS)
def test_every_code_has_a_status_a_type_and_somebody_at_fault(code: str) -> None:
    """Statuses are those for which OpenAI's clients have exceptions; types are OpenAI's words."""
    meaning = ERRORS[code]
    assert meaning.status in range(400, 600)
    ordinary = {"invalid_request_error"} if meaning.status < 500 else {"server_error"}
    assert meaning.type in TYPES_BY_STATUS.get(meaning.status, ordinary)
    assert meaning.fault in FaultDomain


@pytest.mark.parametrize("code", [c for c in ERRORS if ERRORS[c].fault is FaultDomain.CALLER])
def test_what_the_caller_did_wrong_is_not_worth_a_retry(code: str) -> None:
    """The same request would fail again; only a body that came too slowly may do better."""
    assert ERRORS[code].status < 500
    assert ERRORS[code].should_retry == (ERRORS[code].status == 408)


def test_the_document_is_openais() -> None:
    """``{"error": {"message", "type", "param", "code"}}``, with ``null`` for no field."""
    error = PublicError(code="invalid_role", message="No such role.", param="messages[0].role")
    assert msgspec.json.decode(error_document(error)) == {
        "error": {
            "message": "No such role.",
            "type": "invalid_request_error",
            "param": "messages[0].role",
            "code": "invalid_role",
        }
    }
    document = msgspec.json.decode(error_document(PublicError(code="json_empty", message="m")))
    assert document["error"]["param"] is None


def test_every_error_that_is_raised_has_one_root() -> None:
    """The runtime tells them apart by class and prints them by text."""
    unavailable = Unavailable("redis", "connection refused")
    poison = PoisonRecord("bad_envelope", "3 bytes")
    assert (unavailable.port, str(unavailable)) == (
        "redis",
        "redis is unavailable: connection refused",
    )
    assert (poison.reason, poison.detail) == ("bad_envelope", "3 bytes")
    assert str(poison) == "bad_envelope: 3 bytes"
    for raised in (unavailable, poison, MustStop("fenced"), InvalidConfiguration("line 3")):
        assert isinstance(raised, MillraceError)
