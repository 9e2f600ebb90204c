"""When the answer to another question is served, by alias."""

from services.shared.domain.configuration import Configuration
from services.shared.domain.configuration_semantic import SemanticMode
from services.shared.domain.name_patterns import NamePatterns


class SemanticModes:
    """Modes of one configuration.

    Attributes:
        are_any_on: Whether some request may be compared by meaning.
    """

    def __init__(self, configuration: Configuration) -> None:
        """Read them."""
        self._usual = configuration.cache.semantic.mode
        self._models = NamePatterns(configuration.models)
        own = [model.semantic for model in configuration.models.values()]
        used = [self._usual if mode is None else mode for mode in own]
        self._is_enabled = configuration.cache.enabled
        self.are_any_on = self._is_enabled and any(mode != SemanticMode.OFF for mode in used)

    def of(self, alias: str) -> SemanticMode:
        """The mode of an alias; off for what is none."""
        found = self._models.find(alias)
        if found is None or not self._is_enabled:
            return SemanticMode.OFF
        return self._usual if found.value.semantic is None else found.value.semantic
