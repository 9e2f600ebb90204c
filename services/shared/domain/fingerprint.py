"""The fingerprint of a request: key of the exact cache, and what co-locates equal requests.

Two requests have one fingerprint when a cached answer to the one is an answer to the other. Texts
are not normalised; only what JSON itself leaves open is: the order of keys, white space, escapes,
and how a whole number is written. Every field of ``InferenceRequested`` is hashed or left out for a
reason; a test holds the two lists against the struct, so that no new field is forgotten.
"""

import hashlib
from typing import Any

import msgspec

from services.shared.domain.events import Operation

VERSION = b"1"
"""Changed when prompts are rewritten or answers rendered otherwise: then all old answers miss."""

INCLUDED = frozenset(
    {
        "tenant",
        "operation",
        "model",
        "body",  # all of it but BODY_EXCLUDED
        "cache_policy",  # its namespace alone
    }
)

EXCLUDED = frozenset(
    {
        # in the body, hence hashed with it
        "temperature",
        "max_output_tokens",
        "choice_count",
        "has_tools",
        "has_images",
        "has_response_format",
        "estimated_input_tokens",
        # how the answer is delivered
        "stream",
        "include_usage",
        "reply_partition",
        # who asks, below the tenant, and how urgently; access to the model is checked before
        "key_id",
        "tier",
        "feature",
        "user",
        "conversation_id",
        "priority",
        # this one request
        "request_id",
        "accepted_at",
        "deadline_at",
        "traceparent",
        "tracestate",
        "fingerprint",
    }
)

BODY_EXCLUDED = frozenset(
    {
        # how the answer is delivered
        "stream",
        "stream_options",
        # ours; its namespace is hashed by itself
        "cache",
        # bookkeeping at the provider
        "user",
        "safety_identifier",
        "metadata",
        "store",
        # how fast and at what price the same model works; a cached answer is faster and free
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
    }
)
"""Top-level fields of a body that do not shape the answer; unknown fields are taken to shape it."""

_LENGTH_BYTES = 8
_ENCODER = msgspec.json.Encoder(order="deterministic")


def canonical_request(document: dict[str, Any]) -> bytes:
    """What of a decoded body shapes the answer, in the one way to write it as JSON.

    Args:
        document: A body as ``services.shared.domain.admission.strict_json`` decodes it: whole
            numbers are ``int``.
    """
    return _ENCODER.encode({k: v for k, v in document.items() if k not in BODY_EXCLUDED})


def fingerprint(
    *, tenant: str, namespace: str, operation: Operation, model: str, canonical: bytes
) -> str:
    """Hash a request, as 64 hex digits.

    Each part has its length before it, so that no two lists of parts are the same bytes.

    Args:
        tenant: Whose request it is.
        namespace: Part of the tenant's cache; empty = the common one.
        operation: What is asked.
        model: Model alias asked for.
        canonical: ``canonical_request`` of the body.
    """
    parts = (
        VERSION,
        tenant.encode(),
        namespace.encode(),
        operation.value.encode(),
        model.encode(),
        canonical,
    )
    framed = b"".join(len(part).to_bytes(_LENGTH_BYTES, "big") + part for part in parts)
    return hashlib.sha256(framed).hexdigest()
