"""Where answers are kept that may be served again; a loss is only a miss."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """An entry to be kept.

    Attributes:
        key: Its key.
        value: Its bytes.
        ttl_s: How long, seconds.
    """

    key: str
    value: bytes
    ttl_s: int


class ResponseCache(Protocol):
    """Entries by key, each with a time to live."""

    async def read(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Read entries in one round trip; None where there is none.

        Raises:
            Unavailable: The cache does not answer in time. The caller treats it as a miss.
        """
        ...

    async def write(self, entries: Sequence[Stored]) -> None:
        """Keep entries in one round trip; an older one of the same key is replaced.

        Raises:
            Unavailable: The cache does not answer in time. The entries are not kept.
        """
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Forget entries.

        Raises:
            Unavailable: The cache does not answer in time.
        """
        ...

    async def beginnings(self, prefix: str, *, size_bytes: int) -> Mapping[str, bytes]:
        """The first bytes of every entry whose key begins so; goes through all that is kept.

        Args:
            prefix: What keys begin with: letters, digits and colons.
            size_bytes: How much of each entry is read.

        Raises:
            Unavailable: The cache does not answer in time.
        """
        ...
