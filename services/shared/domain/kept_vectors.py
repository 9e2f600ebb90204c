"""How vectors of single inputs lie in the cache: for who keeps them, and for who purges them."""

import hashlib
from struct import Struct

PREFIX = "vec:"
"""Keys of all vectors begin so."""

HEAD = Struct("<BcIqB")
"""Before a vector: form, width, input tokens, when it came (unix ms), bytes of its model's name."""

_TENANT_DIGITS = 16


def prefix_of(tenant: str) -> str:
    """What keys of a tenant's vectors begin with; the rest of a key tells nobody whose it is."""
    return f"{PREFIX}{hashlib.sha256(tenant.encode()).hexdigest()[:_TENANT_DIGITS]}:"


def kept_at(value: bytes) -> int | None:
    """When a vector was kept, unix ms, by its first ``HEAD.size`` bytes; None = it is damaged."""
    if len(value) < HEAD.size:
        return None
    _form, _width, _tokens, at, _model_bytes = HEAD.unpack_from(value)
    return int(at)
