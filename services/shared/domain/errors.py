"""Every way in which something can go wrong.

Inside the pipeline an exception says what the runtime does next::

    MillraceError
    ├── Unavailable            back-pressure: pause, back off, try the same record again (retriable)
    ├── PoisonRecord           the record can never be processed: dead letter, on (not retriable)
    │   └── Undecodable        its bytes are no record of ours (``services.shared.codec.avro``)
    ├── MustStop               this process may not go on: fenced, too much poison (not retriable)
    └── InvalidConfiguration   settings or ``millrace.yaml`` are wrong; says where and the remedy

Towards a caller an error is a value, ``PublicError``: a normal answer, never an exception. Its
``code`` is one of ``ERRORS``, which fixes HTTP status, OpenAI's ``type``, the fault domain and
whether OpenAI's clients may retry.
"""

from enum import StrEnum

import msgspec


class MillraceError(Exception):
    """Root of all errors that the project raises by itself."""


class Unavailable(MillraceError):
    """A port (Redis, Kafka, a provider registry) cannot be reached now. Retriable."""

    def __init__(self, port: str, why: str) -> None:
        super().__init__(f"{port} is unavailable: {why}")
        self.port = port


class PoisonRecord(MillraceError):
    """A record that no retry can make processable. Not retriable; becomes one dead letter.

    Its request, where it is known, ends with it; not where its id is that of another request.
    """

    def __init__(self, reason: str, detail: str, *, ends_request: bool = True) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.ends_request = ends_request


class MustStop(MillraceError):
    """The process has lost the right or the reason to go on. Not retriable; it exits."""


class InvalidConfiguration(MillraceError):
    """Settings or configuration that cannot work; the text names the place and the remedy."""


class FaultDomain(StrEnum):
    """Whose fault an error is; the first thing an operator asks."""

    CALLER = "caller"
    POLICY = "policy"
    PROVIDER = "provider"
    GATEWAY = "gateway"


class ErrorClass(msgspec.Struct, frozen=True):
    """What follows from an error code."""

    status: int
    type: str
    fault: FaultDomain
    should_retry: bool


_INVALID = "invalid_request_error"


def _caller(status: int = 400, kind: str = _INVALID) -> ErrorClass:
    return ErrorClass(status, kind, FaultDomain.CALLER, should_retry=False)


ERRORS: dict[str, ErrorClass] = {
    # the request itself
    "json_empty": _caller(),
    "json_invalid": _caller(),
    "json_too_deep": _caller(),
    "json_too_complex": _caller(),
    "body_not_object": _caller(),
    "duplicate_key": _caller(),
    "out_of_range": _caller(),
    "invalid_value": _caller(),
    "invalid_type": _caller(),
    "invalid_role": _caller(),
    "missing_required_parameter": _caller(),
    "unknown_parameter": _caller(),
    "unsupported_value": _caller(),
    "contradictory_record": _caller(),
    "context_length_exceeded": _caller(),
    "unsupported_modality": _caller(),
    "unsupported_parameter": _caller(),
    "invalid_header": _caller(),
    "invalid_http": _caller(),
    "invalid_api_key": _caller(401),
    "model_not_found": _caller(404),
    "not_found": _caller(404),
    "method_not_allowed": _caller(405),
    "request_timeout": ErrorClass(408, _INVALID, FaultDomain.CALLER, should_retry=True),
    "idempotency_key_reused": _caller(422),
    "invalid_cursor": _caller(),
    "stream_expired": _caller(410),
    "request_cancelled": _caller(499),
    "body_too_large": _caller(413),
    "uri_too_long": _caller(414),
    "unsupported_media_type": _caller(415),
    "headers_too_large": _caller(431),
    # policy
    "rate_limit_exceeded": ErrorClass(429, "requests", FaultDomain.POLICY, should_retry=True),
    "content_filter": ErrorClass(400, _INVALID, FaultDomain.POLICY, should_retry=False),
    # providers
    "provider_rate_limited": ErrorClass(
        429, "rate_limit_error", FaultDomain.PROVIDER, should_retry=True
    ),
    "provider_rejected": ErrorClass(400, _INVALID, FaultDomain.PROVIDER, should_retry=False),
    "provider_authentication": ErrorClass(
        502, "server_error", FaultDomain.PROVIDER, should_retry=False
    ),
    "provider_model_not_found": ErrorClass(
        502, "server_error", FaultDomain.PROVIDER, should_retry=False
    ),
    "provider_error": ErrorClass(502, "server_error", FaultDomain.PROVIDER, should_retry=True),
    "provider_unreachable": ErrorClass(
        502, "server_error", FaultDomain.PROVIDER, should_retry=True
    ),
    "provider_malformed": ErrorClass(502, "server_error", FaultDomain.PROVIDER, should_retry=True),
    "answer_invalid": ErrorClass(502, "server_error", FaultDomain.PROVIDER, should_retry=True),
    "provider_overloaded": ErrorClass(
        503, "service_unavailable_error", FaultDomain.PROVIDER, should_retry=True
    ),
    "provider_unavailable": ErrorClass(
        503, "service_unavailable_error", FaultDomain.PROVIDER, should_retry=True
    ),
    "provider_timeout": ErrorClass(504, "timeout_error", FaultDomain.PROVIDER, should_retry=True),
    "stream_interrupted": ErrorClass(502, "server_error", FaultDomain.PROVIDER, should_retry=True),
    # ourselves
    "deadline_exceeded": ErrorClass(504, "timeout_error", FaultDomain.GATEWAY, should_retry=False),
    "server_shutting_down": ErrorClass(
        503, "service_unavailable_error", FaultDomain.GATEWAY, should_retry=True
    ),
    "server_is_overloaded": ErrorClass(
        503, "service_unavailable_error", FaultDomain.GATEWAY, should_retry=True
    ),
    "disk_full": ErrorClass(
        503, "service_unavailable_error", FaultDomain.GATEWAY, should_retry=True
    ),
    "upstream_unavailable": ErrorClass(
        503, "service_unavailable_error", FaultDomain.GATEWAY, should_retry=True
    ),
    "poison_record": ErrorClass(500, "server_error", FaultDomain.GATEWAY, should_retry=False),
    "internal_error": ErrorClass(500, "server_error", FaultDomain.GATEWAY, should_retry=True),
}


class PublicError(msgspec.Struct, frozen=True, kw_only=True):
    """An error as the caller sees it, over HTTP, in a stream and in ``InferenceFinished``.

    Attributes:
        code: A key of ``ERRORS``.
        message: One or two sentences: what happened, what to do. Never a secret, never more than
            64 characters of the caller's own text.
        param: The request field at fault, as OpenAI writes it (``messages[0].role``), or "".
        retry_after_ms: When a retry may work, in ms from now; 0 = not known.
        upstream_status: The provider's HTTP status where one caused this; 0 = none.
    """

    code: str
    message: str
    param: str = ""
    retry_after_ms: int = 0
    upstream_status: int = 0

    @property
    def meaning(self) -> ErrorClass:
        """Status, type, fault domain and retry advice that follow from the code."""
        return ERRORS[self.code]


def error_document(error: PublicError) -> bytes:
    """Render OpenAI's error object, ``{"error": {"message", "type", "param", "code"}}``."""
    return msgspec.json.encode(
        {
            "error": {
                "message": error.message,
                "type": error.meaning.type,
                "param": error.param or None,
                "code": error.code,
            }
        }
    )
