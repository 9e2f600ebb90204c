"""What is known of the targets of a configuration.

Facts come from the target itself, else from ``prices``, else from a catalog of public facts.
"""

from typing import Protocol

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
from services.shared.domain.name_patterns import NamePatterns, is_pattern

_FREE = PriceStep(price=Price(version="free"))
_UNKNOWN = PriceStep(price=Price(version="unknown"))


class CatalogFacts(Protocol):
    """How a catalog is asked; ``ModelCatalog.facts``."""

    def __call__(self, *, provider: str, model: str, at_ms: int) -> ModelFacts | None:
        """What was known of a model at a time."""
        ...


class TargetFacts:
    """Facts about the targets of one configuration."""

    def __init__(self, configuration: Configuration, catalog: CatalogFacts) -> None:
        """Prepare; the catalog is asked only for what costs money."""
        self._configuration = configuration
        self._catalog = catalog
        self._prices = NamePatterns(configuration.prices)
        self._price_version = f"configuration-{configuration_version(configuration)}"

    def of(self, target: ModelTarget, model: str, *, at_ms: int) -> ModelFacts:
        """What is known of a target.

        Args:
            target: The target.
            model: The provider's own name of the model.
            at_ms: Time of the prices, unix ms.
        """
        provider = self._configuration.providers[target.provider]
        known = ModelFacts()
        if not provider.free:
            known = self._catalog(provider=target.provider, model=model, at_ms=at_ms) or known
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

    def unpriced(self, *, at_ms: int) -> list[str]:
        """Targets that are refused because nobody knows their price, as ``alias: provider/model``.

        Patterns are left out: what they stand for is known only when it is asked for.
        """
        return [
            f"{alias}: {target.provider}/{target.model or alias}"
            for alias, model in self._configuration.models.items()
            if not is_pattern(alias)
            for target in model.targets
            if not self.of(target, target.model or alias, at_ms=at_ms).prices
        ]

    def _overriding_price(self, target: ModelTarget, model: str) -> tuple[PriceStep, ...]:
        if target.price is not None:
            return (self._step(target.price),)
        match = self._prices.find(f"{target.provider}/{model}")
        return () if match is None else (self._step(match.value),)

    def _step(self, override: PriceOverride) -> PriceStep:
        fresh = nanousd_from_usd(override.input_usd_per_mtok)
        cached = override.cached_input_usd_per_mtok
        written = override.cache_write_usd_per_mtok
        price = Price(
            input_nanousd_per_mtok=fresh,
            cached_input_nanousd_per_mtok=fresh if cached is None else nanousd_from_usd(cached),
            output_nanousd_per_mtok=nanousd_from_usd(override.output_usd_per_mtok),
            version=self._price_version,
            cache_write_nanousd_per_mtok=0 if written is None else nanousd_from_usd(written),
        )
        return PriceStep(price=price)


def _price_without_catalog(provider: Provider) -> tuple[PriceStep, ...]:
    if provider.free:
        return (_FREE,)
    return (_UNKNOWN,) if provider.unpriced is Unpriced.SERVE else ()
