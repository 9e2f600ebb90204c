"""From an admitted body to the record ``InferenceRequested``."""

import msgspec

from services.shared.domain.admission.admit import Admitted
from services.shared.domain.admission.cache_policy import label
from services.shared.domain.admission.faults import public_error
from services.shared.domain.errors import PublicError
from services.shared.domain.events import CachePolicy, InferenceRequested
from services.shared.domain.fingerprint import fingerprint
from services.shared.domain.ids import NO_REPLY


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """On whose account a request runs, as its key or the configuration says.

    Attributes:
        tenant: The tenant.
        key_id: Public id of the virtual key; empty for Kafka producers.
        tier: Service tier; empty = default.
    """

    tenant: str
    key_id: str = ""
    tier: str = ""


class Acceptance(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a request beside its body; see ``InferenceRequested`` for each."""

    request_id: str
    accepted_at: int
    deadline_at: int
    priority: int = 0
    reply_partition: int = NO_REPLY
    feature: str = ""
    conversation_id: str = ""
    traceparent: str = ""
    tracestate: str = ""


def requested_from(
    admitted: Admitted, *, caller: Caller, acceptance: Acceptance, cache_policy: CachePolicy
) -> InferenceRequested:
    """Make the record of an accepted request.

    Args:
        admitted: The body.
        caller: Whose request it is.
        acceptance: What is said of it beside the body; labels are checked (``label_error``).
        cache_policy: What body and headers together let the cache do.
    """
    return InferenceRequested(
        request_id=acceptance.request_id,
        operation=admitted.operation.value,
        body=admitted.body,
        tenant=caller.tenant,
        key_id=caller.key_id,
        tier=caller.tier,
        feature=acceptance.feature,
        user=admitted.user,
        model=admitted.model,
        stream=admitted.stream,
        include_usage=admitted.include_usage,
        estimated_input_tokens=admitted.estimated_input_tokens,
        max_output_tokens=admitted.max_output_tokens,
        temperature=admitted.temperature,
        choice_count=admitted.choice_count,
        has_tools=admitted.has_tools,
        has_images=admitted.has_images,
        has_response_format=admitted.has_response_format,
        conversation_id=acceptance.conversation_id,
        priority=acceptance.priority,
        accepted_at=acceptance.accepted_at,
        deadline_at=acceptance.deadline_at,
        reply_partition=acceptance.reply_partition,
        fingerprint=fingerprint(
            tenant=caller.tenant,
            namespace=cache_policy.namespace,
            operation=admitted.operation,
            model=admitted.model,
            canonical=admitted.canonical,
        ),
        cache_policy=cache_policy,
        traceparent=acceptance.traceparent,
        tracestate=acceptance.tracestate,
    )


def label_error(param: str, value: str) -> PublicError | None:
    """What is wrong with a feature or conversation id; empty is none."""
    fault = label(value) if value else None
    return None if fault is None else public_error(fault.within(param))
