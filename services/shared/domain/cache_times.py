"""How long answers are kept, by alias and operation."""

from services.shared.domain.configuration import Configuration
from services.shared.domain.name_patterns import NamePatterns


class CacheTimes:
    """Times to live of one configuration."""

    def __init__(self, configuration: Configuration) -> None:
        """Read them."""
        self._cache = configuration.cache
        self._models = NamePatterns(configuration.models)

    def ttl_s(self, alias: str, operation: str) -> int:
        """Seconds that an answer is kept; 0 = never."""
        if not self._cache.enabled:
            return 0
        found = self._models.find(alias)
        if found is not None and found.value.cache_ttl_s is not None:
            return found.value.cache_ttl_s
        ttl_s: int = getattr(self._cache.ttl_s, operation)
        return ttl_s
