"""The configuration as the router asks it: callers and aliases by name, with what is known of each.

Prices are those of the minute in which a request was accepted, so a replay finds them too.
"""

from collections.abc import Mapping
from types import MappingProxyType

from services.shared.domain.complexity.classifier import Classifier
from services.shared.domain.configuration import Configuration, Model
from services.shared.domain.configuration_routing import Strategy
from services.shared.domain.configuration_version import configuration_version
from services.shared.domain.name_patterns import WILDCARD, NamePatterns
from services.shared.domain.routing.decide import Alias, Caller
from services.shared.domain.routing.gates import Candidate
from services.shared.domain.routing.strategies.table import OBSERVING
from services.shared.domain.target_facts import CatalogFacts, TargetFacts

MAX_REMEMBERED = 4096
MINUTE_MS = 60_000


class RoutingTable:
    """Callers and aliases of one configuration.

    Attributes:
        version: Version of the configuration.
    """

    def __init__(
        self,
        configuration: Configuration,
        facts: CatalogFacts,
        *,
        classifiers: Mapping[str, Classifier] = MappingProxyType({}),
    ) -> None:
        """Make a table.

        Args:
            configuration: The configuration.
            facts: A catalog; it is asked only for what the configuration does not say.
            classifiers: Classifiers by the name of their weights file; empty = the shipped one.
        """
        self._classifiers = classifiers
        self.version = configuration_version(configuration)
        self._facts = TargetFacts(configuration, facts)
        self._configured = tuple(configuration.models.values())
        self._models = NamePatterns(configuration.models)
        self._callers = {
            key.id: Caller(models=key.models, disabled=key.disabled) for key in configuration.keys
        }
        producers = configuration.kafka_producers
        self._callers[""] = Caller(models=producers.models, disabled=not producers.enabled)
        self._remembered: dict[tuple[str, int], Alias | None] = {}

    def caller(self, key_id: str) -> Caller | None:
        """What a key allows; the empty id is that of Kafka producers."""
        return self._callers.get(key_id)

    def alias(self, name: str, *, at_ms: int) -> Alias | None:
        """A model as callers see it; None when there is none of that name.

        Args:
            name: The name asked for.
            at_ms: When, unix ms: the time of the prices.
        """
        minute = at_ms // MINUTE_MS
        asked = (name, minute)
        if asked not in self._remembered:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[asked] = self._look_up(name, minute * MINUTE_MS)
        return self._remembered[asked]

    def reference(self, name: str) -> tuple[float, ...]:
        """Quantiles of the scores that an alias's classifier gives to its reference prompts."""
        match = self._models.find(name)
        classifier = None if match is None else self._classifier_of(match.value)
        return () if classifier is None else classifier.weights.reference

    @property
    def observes(self) -> bool:
        """Whether some alias has a strategy that looks at what was observed."""
        return any(model.strategy in OBSERVING for model in self._configured)

    def unpriced(self, *, at_ms: int) -> list[str]:
        """Targets that are refused because nobody knows their price, as ``alias: provider/model``.

        Asked once at the start, it also loads the catalog, if the configuration needs it at all.
        """
        return self._facts.unpriced(at_ms=at_ms)

    def _look_up(self, name: str, at_ms: int) -> Alias | None:
        match = self._models.find(name)
        if match is None:
            return None
        candidates = []
        for target in match.value.targets:
            model = (target.model or name).replace(WILDCARD, match.rest)
            facts = self._facts.of(target, model, at_ms=at_ms)
            candidates.append(Candidate(target=target, model=model, facts=facts))
        return Alias(
            model=match.value,
            candidates=tuple(candidates),
            classifier=self._classifier_of(match.value),
        )

    def _classifier_of(self, model: Model) -> Classifier | None:
        if model.strategy is not Strategy.COMPLEXITY:
            return None
        return self._classifiers.get(model.complexity.weights)
