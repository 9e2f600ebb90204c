"""A response cache in memory."""

from collections.abc import Mapping, Sequence

from services.shared.domain.errors import Unavailable
from services.shared.ports.response_cache import Stored


class MemoryCache:
    """A ``ResponseCache``; entries do not expire, but say how long they were to be kept.

    Attributes:
        entries: Values by key.
        ttl_s: Times to live by key.
        is_available: Whether it answers.
        reads: Keys of each read.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.entries: dict[str, bytes] = {}
        self.ttl_s: dict[str, int] = {}
        self.is_available = True
        self.reads: list[list[str]] = []

    async def read(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """See ``ResponseCache``."""
        self.reads.append(list(keys))
        self._check()
        return [self.entries.get(key) for key in keys]

    async def write(self, entries: Sequence[Stored]) -> None:
        """See ``ResponseCache``."""
        self._check()
        for entry in entries:
            assert entry.ttl_s > 0, "Redis refuses this"
            self.entries[entry.key] = entry.value
            self.ttl_s[entry.key] = entry.ttl_s

    async def delete(self, keys: Sequence[str]) -> None:
        """See ``ResponseCache``."""
        self._check()
        for key in keys:
            self.entries.pop(key, None)

    async def beginnings(self, prefix: str, *, size_bytes: int) -> Mapping[str, bytes]:
        """See ``ResponseCache``."""
        self._check()
        return {
            key: value[:size_bytes] for key, value in self.entries.items() if key.startswith(prefix)
        }

    def _check(self) -> None:
        if not self.is_available:
            raise Unavailable("cache", "it is away")
