"""From an HTTP request to the record ``InferenceRequested``, or to the reason of its refusal."""

from services.gateway.asgi import JSON, Request
from services.gateway.claims import HEADER, idempotency_key
from services.gateway.decide import authenticate
from services.gateway.desk import MS_PER_S, Desk
from services.gateway.disk_guard import DISK_FULL
from services.shared.domain.admission.accept import (
    Acceptance,
    Caller,
    label_error,
    requested_from,
)
from services.shared.domain.admission.admit import Admitted, admit
from services.shared.domain.admission.cache_policy import (
    CACHE_CONTROL_HEADER,
    CACHE_NAMESPACE_HEADER,
    merge_cache_policy,
)
from services.shared.domain.configuration import VirtualKey
from services.shared.domain.errors import PublicError
from services.shared.domain.events import InferenceRequested, Operation
from services.shared.domain.name_patterns import matches_any
from services.shared.domain.tracing import read_traceparent, request_context, traceparent

_MAX_TRACESTATE_CHARS = 512
_MAX_DIGITS = 12
CLIENT_MARGIN_MS = 1_000
"""A request outlives its client's patience by so much: the client's own timeout comes first, and
what it does about it, e.g. ask again, is as it is used to."""

_CACHE_HEADERS = (CACHE_CONTROL_HEADER, CACHE_NAMESPACE_HEADER)


async def accepted(
    operation: Operation, request: Request, desk: Desk, now_ms: float
) -> InferenceRequested | PublicError:
    """Authenticate, read, check.

    Args:
        operation: What the path asks for.
        request: The request; its body is read only once its head is known to be good.
        desk: Keys, models and limits.
        now_ms: When the request arrived, unix ms.

    Raises:
        BodyLost: The body did not arrive; the front door has answered.
    """
    key = authenticate(request.all_of(b"authorization"), desk.keys)
    if isinstance(key, PublicError):
        return key
    if desk.disk is not None and desk.disk.is_full:
        return DISK_FULL
    error = _media_error(request) or _key_error(request)
    if error is not None:
        return error
    admitted = admit(operation, await request.body(), limits=desk.limits)
    if isinstance(admitted, PublicError):
        return admitted
    if not _may_ask(key, admitted, desk):
        return PublicError(
            code="model_not_found",
            message=(
                f"The model '{_short(admitted.model)}' does not exist or you do not have access to "
                "it. GET /v1/models lists those that you may use."
            ),
            param="model",
        )
    return _requested(request, key, admitted, desk, now_ms)


def _media_error(request: Request) -> PublicError | None:
    content_type, _, parameters = request.header(b"content-type").lower().partition(";")
    charset = parameters.partition("charset=")[2].strip().strip('"')
    if content_type.strip() != JSON or charset not in {"", "utf-8"}:
        return PublicError(
            code="unsupported_media_type",
            message="Send the body as 'Content-Type: application/json', in UTF-8.",
        )
    if request.header(b"content-encoding").lower() not in {"", "identity"}:
        return PublicError(
            code="unsupported_media_type",
            message="Compressed bodies are not read; send it without 'Content-Encoding'.",
        )
    return None


def _key_error(request: Request) -> PublicError | None:
    key = idempotency_key(request.all_of(HEADER)) if HEADER in request.headers else None
    return key if isinstance(key, PublicError) else None


def _may_ask(key: VirtualKey, admitted: Admitted, desk: Desk) -> bool:
    if key.models and not matches_any(admitted.model, key.models):
        return False
    found = desk.models.find(admitted.model)
    if found is None:
        return False
    return not found.value.operations or admitted.operation in found.value.operations


def _requested(
    request: Request, key: VirtualKey, admitted: Admitted, desk: Desk, now_ms: float
) -> InferenceRequested | PublicError:
    policy = merge_cache_policy(admitted.cache_policy, _cache_headers(request))
    if isinstance(policy, PublicError):
        return policy
    feature = request.header(b"x-millrace-feature")
    conversation_id = request.header(b"x-millrace-conversation-id")
    priority = _priority(request, key)
    deadline_ms = _time_allowed_ms(request, admitted, desk)
    for checked in (
        label_error("x-millrace-feature", feature),
        label_error("x-millrace-conversation-id", conversation_id),
        priority,
        deadline_ms,
    ):
        if isinstance(checked, PublicError):
            return checked
    state = request.header(b"tracestate")
    caller = read_traceparent(request.header(b"traceparent"))
    is_state = caller is not None and len(state) <= _MAX_TRACESTATE_CHARS and state.isascii()
    acceptance = Acceptance(
        request_id=request.id,
        accepted_at=int(now_ms),
        deadline_at=int(now_ms) + deadline_ms,  # type: ignore[operator]  # checked above
        priority=priority,  # type: ignore[arg-type]
        reply_partition=desk.reply_partition,
        feature=feature,
        conversation_id=conversation_id,
        traceparent=traceparent(request_context(request.id, caller)),
        tracestate=state if is_state else "",
    )
    return requested_from(
        admitted,
        caller=Caller(tenant=key.tenant, key_id=key.id, tier=key.tier),
        acceptance=acceptance,
        cache_policy=policy,
    )


def _cache_headers(request: Request) -> dict[str, str]:
    """What the headers say of the cache; one that came twice is joined, as HTTP has it."""
    return {
        name: b", ".join(request.all_of(name.encode())).decode("latin-1")
        for name in _CACHE_HEADERS
        if name.encode() in request.headers
    }


def _priority(request: Request, key: VirtualKey) -> int | PublicError:
    """The key's priority, or a less urgent one that the request asks for."""
    wanted = request.header(b"x-millrace-priority")
    if not wanted:
        return key.priority
    if wanted not in {"0", "1", "2"}:
        return PublicError(
            code="invalid_header",
            message="'x-millrace-priority' is 0 (a user waits), 1 or 2 (background).",
            param="x-millrace-priority",
        )
    return max(key.priority, int(wanted))


def _time_allowed_ms(request: Request, admitted: Admitted, desk: Desk) -> int | PublicError:
    """Time until the deadline: as asked for, else as long as the client says it will wait."""
    wanted = request.header(b"x-millrace-deadline-ms")
    if wanted:
        most = desk.limits.max_deadline_ms
        is_number = wanted.isascii() and wanted.isdigit() and len(wanted) <= _MAX_DIGITS
        if not (is_number and 1 <= int(wanted) <= most):
            return PublicError(
                code="invalid_header",
                message=f"'x-millrace-deadline-ms' is a number from 1 to {most}.",
                param="x-millrace-deadline-ms",
            )
        return int(wanted)
    allowed = desk.limits.request_timeout_ms
    try:
        waits_ms = int(float(request.header(b"x-stainless-read-timeout") or "inf") * MS_PER_S)
    except (ValueError, OverflowError):
        return allowed
    # In a stream the client's limit is on silence, not on the whole.
    return allowed if admitted.stream or waits_ms < 1 else min(allowed, waits_ms + CLIENT_MARGIN_MS)


def _short(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:64])
