"""Prices and context windows from ``genai-prices``."""

import socket
import subprocess
import sys
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pytest
from genai_prices.data import providers as listed
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from services.shared.adapters import genai_prices_model_catalog as adapter
from services.shared.adapters.genai_prices_model_catalog import GenaiPricesModelCatalog
from services.shared.domain.configuration import Modality, Provider
from services.shared.domain.model_facts import ModelFacts
from services.shared.domain.money import Usage, cost_nanousd

AT_MS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
PROVIDERS = {
    "openai": Provider(base_url="http://127.0.0.1:1/v1"),
    "by-address": Provider(base_url="https://api.openai.com/v1"),
    "by-id": Provider(base_url="http://127.0.0.1:1", catalog="anthropic"),
    "wrong-id": Provider(base_url="http://127.0.0.1:1", catalog="nobody-of-that-name"),
    "proxy": Provider(base_url="http://127.0.0.1:1"),
}


def facts(provider: str, model: str, *, at_ms: int = AT_MS) -> ModelFacts | None:
    """What the catalog says of a model."""
    return GenaiPricesModelCatalog(PROVIDERS).facts(provider=provider, model=model, at_ms=at_ms)


@pytest.mark.parametrize("provider", ["openai", "by-address", "proxy"])
def test_a_provider_is_found_by_name_address_or_model(provider: str) -> None:
    """The same model has the same facts whichever way its provider was found."""
    known = facts(provider, "gpt-4o-mini")
    assert known is not None
    assert known.context_window_tokens == 128_000
    price = known.price_for(0)
    assert price is not None
    assert (price.input_nanousd_per_mtok, price.output_nanousd_per_mtok) == (
        150_000_000,
        600_000_000,
    )
    assert price.cached_input_nanousd_per_mtok == 75_000_000
    assert price.version.startswith("genai-prices-")


def test_the_configured_id_decides() -> None:
    """With an id, only that provider's models are known."""
    assert facts("by-id", "claude-3-5-sonnet") is not None
    assert facts("by-id", "gpt-4o-mini") is None


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "nobody"), ("proxy", "zzz-nobody"), ("openai", ""), ("wrong-id", "zzz-nobody")],
)
def test_a_model_that_is_not_listed_is_not_known(provider: str, model: str) -> None:
    """Unknown is None, never a price of 0."""
    assert facts(provider, model) is None


def test_prices_agree_with_the_packages_own_arithmetic() -> None:
    """For models with one price and with steps, costs are those the package computes, to a nano."""
    checked = 0
    for provider in listed:
        for model in provider.models:
            if not model.prices:
                continue
            prices = model.get_prices(datetime.fromtimestamp(AT_MS / 1000, tz=UTC))
            units = {name for name, value in vars(prices).items() if value is not None}
            if units - {"input_mtok", "output_mtok", "cache_read_mtok"} or not units:
                continue
            steps = adapter._price_steps(prices)
            if not steps:
                continue
            for tokens in (1, 100_000, 300_000, 2_000_000):
                usage = Usage(input_tokens=tokens, output_tokens=1_000)
                price = ModelFacts(prices=steps).price_for(tokens)
                assert price is not None
                theirs = prices.calc_price(_Reported(tokens))["total_price"]
                assert abs(Decimal(cost_nanousd(usage, price)) - theirs * 10**9) <= 1, model.id
                checked += 1
    assert checked > 1_000


class _Reported:
    """A usage as the package reads it: what is not reported is absent."""

    def __init__(self, tokens: int) -> None:
        self.input_tokens = tokens
        self.output_tokens = 1_000


def test_a_price_with_steps_keeps_them() -> None:
    """All tokens cost the higher price once a request exceeds the size."""
    prices = ModelPrice(
        input_mtok=TieredPrices(
            base=Decimal(1),
            tiers=[Tier(start=200, price=Decimal(3)), Tier(start=100, price=Decimal(2))],
        ),
        output_mtok=Decimal(5),
    )
    known = ModelFacts(prices=adapter._price_steps(prices))
    amounts = [
        price.input_nanousd_per_mtok // 10**9
        for tokens in (0, 100, 101, 200, 201)
        if (price := known.price_for(tokens))
    ]
    assert amounts == [1, 1, 2, 2, 3]
    assert {step.price.output_nanousd_per_mtok for step in known.prices} == {5 * 10**9}
    assert {step.price.cached_input_nanousd_per_mtok // 10**9 for step in known.prices} == {1, 2, 3}


@pytest.mark.parametrize(
    "prices",
    [ModelPrice(), ModelPrice(output_mtok=Decimal(1)), ModelPrice(requests_kcount=Decimal(1))],
)
def test_a_model_without_an_input_price_has_none(prices: ModelPrice) -> None:
    """A listed model whose input has no price is one of unknown price."""
    assert adapter._price_steps(prices) == ()


def test_prices_are_those_of_the_time() -> None:
    """A price that starts on a day and one that holds at night are found by the request's time."""
    day = ConditionalPrice(prices=ModelPrice(input_mtok=Decimal(1)))
    later = ConditionalPrice(
        constraint=StartDateConstraint(start_date=date(2026, 2, 1)),
        prices=ModelPrice(input_mtok=Decimal(2)),
    )
    night = ConditionalPrice(
        constraint=TimeOfDateConstraint(start_time=time(16), end_time=time(23)),
        prices=ModelPrice(input_mtok=Decimal(3)),
    )
    model = ModelInfo(id="m", match=ClauseEquals(equals="m"), prices=[day, later, night])
    catalog = GenaiPricesModelCatalog(PROVIDERS)
    catalog._models["proxy", "m"] = model
    amounts = []
    for at in (
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 2, 1, tzinfo=UTC),
        datetime(2026, 2, 1, 16, tzinfo=UTC),
    ):
        known = catalog.facts(provider="proxy", model="m", at_ms=int(at.timestamp() * 1000))
        assert known is not None
        amounts.append(known.prices[0].price.input_nanousd_per_mtok // 10**9)
    assert amounts == [1, 2, 3]


@pytest.mark.parametrize(
    ("model", "modalities", "tools"),
    [
        ("gpt-3.5-turbo", (Modality.TEXT,), None),
        ("gpt-4", (Modality.TEXT,), None),
        ("o1-mini", (Modality.TEXT,), False),
        ("text-embedding-3-small", (Modality.TEXT,), False),
        ("gpt-4o", None, None),
        ("gpt-4.1-mini", None, None),
        ("gpt-4-turbo", None, None),
    ],
)
def test_only_what_is_certain_is_said_of_abilities(
    model: str, modalities: tuple[Modality, ...] | None, tools: object
) -> None:
    """Models that take text alone or no tools are known; of others nothing is said."""
    known = facts("openai", model)
    assert known is not None
    assert (known.input_modalities, known.tools) == (modalities, tools)


def test_names_of_callers_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered is bounded, and the package's own caches stay empty."""
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415

    monkeypatch.setattr(adapter, "MAX_REMEMBERED", 8)
    catalog = GenaiPricesModelCatalog(PROVIDERS)
    for number in range(20):
        catalog.facts(provider="openai", model=f"gpt-4o-{number}", at_ms=AT_MS)
    assert len(catalog._models) <= 8
    assert not get_snapshot()._lookup_cache


def test_the_network_is_never_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known and unknown models are answered without a socket."""

    def refuse(*_arguments: object) -> None:
        pytest.fail("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert facts("openai", "gpt-4o") is not None
    assert facts("proxy", "zzz-nobody") is None


def test_the_package_is_not_imported_before_it_is_needed() -> None:
    """A stack on free providers alone never pays for the price table."""
    script = (
        "import sys\n"
        "from services.shared.domain.routing.routing_table import RoutingTable\n"
        "from services.shared.adapters.genai_prices_model_catalog import GenaiPricesModelCatalog\n"
        "from services.shared.domain.default_configuration import simulator_configuration\n"
        "made = simulator_configuration()\n"
        "table = RoutingTable(made, GenaiPricesModelCatalog(made.providers).facts)\n"
        "assert table.unpriced(at_ms=0) == []\n"
        "assert table.alias('sim-x', at_ms=0)\n"
        "sys.exit('genai_prices' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=10).returncode == 0
