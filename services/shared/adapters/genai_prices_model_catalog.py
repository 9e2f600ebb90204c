"""Model catalog from the ``genai-prices`` package: dated prices and context windows, offline.

The package takes about 0.2 s and 30 MB to import, so it is imported at the first question; a
configuration whose providers are all free never asks. Its own lookup caches grow with every name
ever asked, and names come from callers, so it is searched without them and what was found is kept
here, bounded.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from services.shared.domain.configuration import Modality, Provider
from services.shared.domain.model_facts import ModelFacts, PriceStep
from services.shared.domain.money import Price, nanousd_from_usd

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice
    from genai_prices.types import Provider as Listed

MAX_REMEMBERED = 4096
_MS_PER_S = 1000

_NO_IMAGES = re.compile(
    r"gpt-3\.5.*|gpt-4(-32k)?|gpt-oss.*|o1-mini|o1-preview|o3-mini|deepseek-(chat|reasoner)"
    r"|text-.*|davinci.*|babbage.*|curie|ada"
)
"""Ids of models that take text alone; the package does not say. Others are left to providers."""

_NO_TOOLS = re.compile(
    r"gpt-3\.5-turbo-instruct|gpt-4-vision-preview|chatgpt-4o-latest|o1-mini|o1-preview"
    r"|text-.*|davinci.*|babbage.*|curie|ada"
)
"""Ids of models that cannot call tools."""


class GenaiPricesModelCatalog:
    """Facts from ``genai-prices``; never asks the network."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        """Make a catalog.

        Args:
            providers: The providers of the configuration, by name. Each is found in the package by
                its ``catalog`` id, else by its address, else by its name; one that is in no list,
                e.g. a company's own proxy, is taken to serve whatever a model's name suggests.
        """
        self._providers = providers
        self._listed: dict[str, Listed | None] = {}
        self._models: dict[tuple[str, str], ModelInfo | None] = {}

    def facts(self, *, provider: str, model: str, at_ms: int) -> ModelFacts | None:
        """See ``ModelCatalog``."""
        found = self._find(provider, model)
        if found is None:
            return None
        at = datetime.fromtimestamp(at_ms / _MS_PER_S, tz=UTC)
        return ModelFacts(
            context_window_tokens=found.context_window or 0,
            input_modalities=(Modality.TEXT,) if _NO_IMAGES.fullmatch(found.id) else None,
            tools=False if _NO_TOOLS.fullmatch(found.id) else None,
            prices=_price_steps(found.get_prices(at)) if found.prices else (),
        )

    def _find(self, provider: str, model: str) -> "ModelInfo | None":
        asked = (provider, model)
        if asked not in self._models:
            if len(self._models) >= MAX_REMEMBERED:
                self._models.clear()
            self._models[asked] = self._search(provider, model)
        return self._models[asked]

    def _search(self, provider: str, model: str) -> "ModelInfo | None":
        from genai_prices.data import providers as listed  # noqa: PLC0415  (see the module's text)

        if provider not in self._listed:
            self._listed[provider] = _listed_provider(provider, self._providers[provider], listed)
        found = self._listed[provider] or _provider_by_model(model, listed)
        return None if found is None else found.find_model(model, all_providers=listed)


def _listed_provider(name: str, provider: Provider, listed: "list[Listed]") -> "Listed | None":
    from genai_prices.data_snapshot import find_provider_by_id  # noqa: PLC0415

    if provider.catalog:
        return find_provider_by_id(listed, provider.catalog)
    for candidate in listed:
        if re.match(candidate.api_pattern, provider.base_url):
            return candidate
    return find_provider_by_id(listed, name)


def _provider_by_model(model: str, listed: "list[Listed]") -> "Listed | None":
    for candidate in listed:
        if candidate.model_match is not None and candidate.model_match.is_match(model):
            return candidate
    return None


def _price_steps(prices: "ModelPrice") -> tuple[PriceStep, ...]:
    """Price steps, the highest first; none when the input has no price, for that is not free."""
    if prices.input_mtok is None:
        return ()
    thresholds = {-1}
    for price in (
        prices.input_mtok,
        prices.cache_read_mtok,
        prices.cache_write_mtok,
        prices.output_mtok,
    ):
        if price is not None and not isinstance(price, Decimal):
            thresholds.update(tier.start for tier in price.tiers)
    return tuple(
        PriceStep(above_input_tokens=start, price=_price_above(prices, start))
        for start in sorted(thresholds, reverse=True)
    )


@cache
def _source() -> str:
    return f"genai-prices-{version('genai-prices')}"


def _price_above(prices: "ModelPrice", start: int) -> Price:
    fresh = _nanousd_above(prices, "input_mtok", start)
    cached = _nanousd_above(prices, "cache_read_mtok", start)
    return Price(
        input_nanousd_per_mtok=fresh or 0,
        cached_input_nanousd_per_mtok=fresh or 0 if cached is None else cached,
        output_nanousd_per_mtok=_nanousd_above(prices, "output_mtok", start) or 0,
        version=_source(),
        cache_write_nanousd_per_mtok=_nanousd_above(prices, "cache_write_mtok", start) or 0,
    )


def _nanousd_above(prices: "ModelPrice", unit: str, start: int) -> int | None:
    """Nano-USD for a million tokens of a unit in requests just above a size."""
    price = getattr(prices, unit)
    if price is None or isinstance(price, Decimal):
        return None if price is None else nanousd_from_usd(price)
    passed = [tier.price for tier in price.tiers if tier.start <= start]
    return nanousd_from_usd(passed[-1] if passed else price.base)
