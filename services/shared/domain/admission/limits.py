"""Bounds of a request.

``Limits`` are the operator's; the constants are Millrace's own and the API's.
"""

import msgspec

from services.shared.domain.configuration import MAX_BODY_BYTES
from services.shared.domain.configuration import Limits as ConfiguredLimits
from services.shared.domain.configuration_types import MAX_DEADLINE_S

_MS_PER_S = 1_000

MAX_JSON_DEPTH = 64
"""Objects and arrays inside one another."""

MAX_JSON_CONTAINERS = 100_000
"""Objects and arrays of one body; 10,000 messages with content parts stay below."""

MAX_JSON_STRINGS = 250_000
"""Strings of one body, keys included."""

MAX_JSON_SEPARATORS = 400_000
"""Commas between values; the 300,000 token ids that OpenAI embeds at once stay below."""

MAX_FIELDS = 256
"""Top-level fields."""

MAX_NAME_CHARS = 256
"""A model's name, a field's name."""

MAX_USER_CHARS = 512
MAX_LABEL_CHARS = 128
"""A feature, a conversation id, a cache namespace."""

MAX_MESSAGES = 10_000
MAX_TOOLS = 128
MAX_TOOL_CALL_ID_CHARS = 8_192
"""Generous: some providers put a signature into the id."""

MAX_CHOICES = 8
"""``n``: choices multiply the provider's work, so a large number is a cheap attack."""

MAX_OUTPUT_TOKENS = 1_000_000
MAX_INPUTS = 2_048
"""Inputs of an embeddings request, choices of a text completion."""

MAX_TOKEN_ID = 1_000_000
"""Several times the largest vocabulary in use."""

MAX_DIMENSIONS = 16_384
MAX_IMAGE_URL_CHARS = 1_000_000
"""An image's URL; a ``data:`` URL holds the image itself."""

MAX_SCHEMA_BYTES = 256 * 1024
MAX_PATTERN_CHARS = 4_096
"""All regular expressions of a JSON Schema together."""

MAX_STOPS = 4
MAX_STOP_CHARS = 1_024
MAX_LOGIT_BIASES = 1_024
MAX_METADATA_ENTRIES = 16
MAX_METADATA_KEY_CHARS = 64
MAX_METADATA_VALUE_CHARS = 512

MAX_CACHE_AGE_S = 31_536_000
"""One year."""

MAX_RECORD_AGE_MS = 7 * 86_400 * _MS_PER_S
"""How long the request topics keep a record; one that claims to be older has a wrong clock."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator lets a request ask for.

    Attributes:
        max_body_bytes: Largest body.
        request_timeout_ms: Time that a request has which names no deadline.
        max_deadline_ms: Longest time that a request may ask for, from its acceptance.
    """

    max_body_bytes: int = MAX_BODY_BYTES
    request_timeout_ms: int = 600_000
    max_deadline_ms: int = MAX_DEADLINE_S * _MS_PER_S


def limits_from_configuration(configured: ConfiguredLimits) -> Limits:
    """The limits that ``millrace.yaml`` sets."""
    return Limits(
        max_body_bytes=configured.max_body_bytes,
        request_timeout_ms=round(configured.request_timeout_s * _MS_PER_S),
        max_deadline_ms=round(configured.max_deadline_s * _MS_PER_S),
    )
