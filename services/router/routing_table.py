"""The configuration as the router asks it: callers and aliases by name, with what is known of each.

Facts about a model come from its target in the configuration, else from ``prices``, else from the
catalog. Prices are those of the minute in which a request was accepted, so a replay finds them too.
"""

from services.router.decide import Alias, Caller
from services.router.gates import Candidate
from services.shared.domain.configuration import (
    Configuration,
    ModelTarget,
    PriceOverride,
    Provider,
    Unpriced,
)
from services.shared.domain.configuration_version import configuration_version
from services.shared.domain.model_facts import ModelFacts, PriceStep
from services.shared.domain.money import Price, nanousd_from_usd
from services.shared.domain.name_patterns import WILDCARD, NamePatterns, is_pattern
from services.shared.ports.model_catalog import ModelCatalog

MAX_REMEMBERED = 4096
MINUTE_MS = 60_000

_FREE = PriceStep(price=Price(version="free"))
_UNKNOWN = PriceStep(price=Price(version="unknown"))


class RoutingTable:
    """Callers and aliases of one configuration.

    Attributes:
        version: Version of the configuration.
    """

    def __init__(self, configuration: Configuration, catalog: ModelCatalog) -> None:
        """Make a table; the catalog is asked only for what the configuration does not say."""
        self.version = configuration_version(configuration)
        self._providers = configuration.providers
        self._catalog = catalog
        self._models = NamePatterns(configuration.models)
        self._prices = NamePatterns(configuration.prices)
        self._names = [name for name in configuration.models if not is_pattern(name)]
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

    def unpriced(self, *, at_ms: int) -> list[str]:
        """Targets that are refused because nobody knows their price, as ``alias: provider/model``.

        Asking this once at the start also loads the catalog, if it is needed at all.
        """
        return [
            f"{name}: {candidate.name}"
            for name in self._names
            if (alias := self.alias(name, at_ms=at_ms))
            for candidate in alias.candidates
            if not candidate.facts.prices
        ]

    def _look_up(self, name: str, at_ms: int) -> Alias | None:
        match = self._models.find(name)
        if match is None:
            return None
        candidates = []
        for target in match.value.targets:
            model = (target.model or name).replace(WILDCARD, match.rest)
            facts = self._facts(target, model, at_ms)
            candidates.append(Candidate(target=target, model=model, facts=facts))
        return Alias(model=match.value, candidates=tuple(candidates))

    def _facts(self, target: ModelTarget, model: str, at_ms: int) -> ModelFacts:
        provider = self._providers[target.provider]
        known = ModelFacts()
        if not provider.free:
            found = self._catalog.facts(provider=target.provider, model=model, at_ms=at_ms)
            known = found or known
        modalities = target.input_modalities
        return ModelFacts(
            context_window_tokens=target.context_window_tokens or known.context_window_tokens,
            max_output_tokens=target.max_output_tokens or known.max_output_tokens,
            input_modalities=known.input_modalities if modalities is None else modalities,
            tools=known.tools if target.tools is None else target.tools,
            prices=self._overriding_price(target, model)
            or known.prices
            or _price_without_catalog(provider),
        )

    def _overriding_price(self, target: ModelTarget, model: str) -> tuple[PriceStep, ...]:
        if target.price is not None:
            return (self._step(target.price),)
        match = self._prices.find(f"{target.provider}/{model}")
        return () if match is None else (self._step(match.value),)

    def _step(self, override: PriceOverride) -> PriceStep:
        fresh = nanousd_from_usd(override.input_usd_per_mtok)
        cached = override.cached_input_usd_per_mtok
        price = Price(
            input_nanousd_per_mtok=fresh,
            cached_input_nanousd_per_mtok=fresh if cached is None else nanousd_from_usd(cached),
            output_nanousd_per_mtok=nanousd_from_usd(override.output_usd_per_mtok),
            version=f"configuration-{self.version}",
        )
        return PriceStep(price=price)


def _price_without_catalog(provider: Provider) -> tuple[PriceStep, ...]:
    if provider.free:
        return (_FREE,)
    return (_UNKNOWN,) if provider.unpriced is Unpriced.SERVE else ()
