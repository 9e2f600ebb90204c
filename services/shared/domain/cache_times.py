"""How long answers are kept, by alias and operation."""

from services.shared.domain.configuration import Configuration
from services.shared.domain.events import Operation
from services.shared.domain.name_patterns import NamePatterns


class CacheTimes:
    """Times to live of one configuration."""

    def __init__(self, configuration: Configuration) -> None:
        """Read them."""
        cache = configuration.cache
        self._is_enabled = cache.enabled
        self._ttl_s: dict[str, int] = {
            operation.value: getattr(cache.ttl_s, operation) for operation in Operation
        }
        self._embedded_inputs_ttl_s = cache.embedded_inputs_ttl_s
        self._models = NamePatterns(configuration.models)

    def ttl_s(self, alias: str, operation: str) -> int:
        """Seconds that an answer is kept; 0 = never, as for what is no operation."""
        if not self._is_enabled or operation not in self._ttl_s:
            return 0
        found = self._models.find(alias)
        if found is not None and found.value.cache_ttl_s is not None:
            return found.value.cache_ttl_s
        return self._ttl_s[operation]

    def embedded_inputs_ttl_s(self, alias: str) -> int:
        """Seconds that the vector of one input is kept; 0 = never. An alias may shorten it."""
        if not self._is_enabled:
            return 0
        found = self._models.find(alias)
        if found is None or found.value.cache_ttl_s is None:
            return self._embedded_inputs_ttl_s
        return min(found.value.cache_ttl_s, self._embedded_inputs_ttl_s)
