"""Why a record became a dead letter, and whether the same record may pass another time.

A provider's outage is none of these: a request that meets one ends in a typed refusal, or waits on
a retry topic. So nothing here is mended by time alone; what is retriable is so once somebody has
mended the pipeline, which is why people redrive and no service does.
"""

from types import MappingProxyType

_NEVER = False
_ONCE_MENDED = True

REASONS = MappingProxyType(
    {
        # the bytes are wrong, and stay so
        "bad_envelope": _NEVER,
        "schema_subject_mismatch": _NEVER,
        "decode_error": _NEVER,
        "trailing_bytes": _NEVER,
        "oversize": _NEVER,
        "checksum_mismatch": _NEVER,
        # the record contradicts itself, and stays so
        "semantic_invalid": _NEVER,
        "bad_key": _NEVER,
        "missing_header": _NEVER,
        "duplicate_header": _NEVER,
        "oversize_header": _NEVER,
        "header_mismatch": _NEVER,
        "tenant_mismatch": _NEVER,
        "reply_out_of_range": _NEVER,
        # its id is that of another request
        "id_conflict": _NEVER,
        # the reader was wrong, or too old: a newer release may take the record
        "schema_unknown": _ONCE_MENDED,
        "processor_error": _ONCE_MENDED,
        "processing_failed": _ONCE_MENDED,
        "crash_loop": _ONCE_MENDED,
    }
)
"""Every reason, and whether the record may pass once the pipeline is mended."""


def is_retriable(reason: str) -> bool:
    """Whether a record may pass once the pipeline is mended; a reason we do not know may not."""
    return REASONS.get(reason, _NEVER)
