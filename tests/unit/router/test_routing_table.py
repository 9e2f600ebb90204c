"""The configuration as the router asks it."""

from decimal import Decimal

import pytest

from services.shared.domain.complexity.classifier import Classifier, Weights
from services.shared.domain.configuration import (
    Configuration,
    KafkaProducers,
    Modality,
    Model,
    ModelTarget,
    PriceOverride,
    Provider,
    Unpriced,
    VirtualKey,
)
from services.shared.domain.configuration_routing import Complexity, Strategy
from services.shared.domain.model_facts import ModelFacts, PriceStep
from services.shared.domain.money import Price
from services.shared.domain.routing.routing_table import MAX_REMEMBERED, MINUTE_MS, RoutingTable

CATALOGUED = ModelFacts(
    context_window_tokens=100,
    max_output_tokens=10,
    input_modalities=(Modality.TEXT,),
    tools=False,
    prices=(PriceStep(price=Price(input_nanousd_per_mtok=7, version="catalog")),),
)


class Catalog:
    """Knows the model ``known`` of every provider, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, int]] = []

    def facts(self, *, provider: str, model: str, at_ms: int) -> ModelFacts | None:
        """See ``ModelCatalog``."""
        self.asked.append((provider, model, at_ms))
        return CATALOGUED if model == "known" else None


def configuration(
    *targets: ModelTarget, alias: str = "m", prices: dict[str, PriceOverride] | None = None
) -> Configuration:
    """One alias of these targets, over a paid, a lenient and a free provider."""
    return Configuration(
        providers={
            "paid": Provider(base_url="http://paid"),
            "lenient": Provider(base_url="http://lenient", unpriced=Unpriced.SERVE),
            "free": Provider(base_url="http://free", free=True),
        },
        models={alias: Model(targets=targets)},
        prices=prices or {},
    )


def facts_of(config: Configuration, name: str = "m") -> ModelFacts:
    """Facts about the first target of a model."""
    alias = RoutingTable(config, Catalog().facts).alias(name, at_ms=0)
    assert alias is not None
    return alias.candidates[0].facts


def price_of(config: Configuration, name: str = "m") -> Price | None:
    """Price of the first target of a model."""
    return facts_of(config, name).price_for(0)


def test_the_catalog_fills_in_what_the_target_does_not_say() -> None:
    """With nothing said, all facts are the catalog's."""
    assert facts_of(configuration(ModelTarget(provider="paid", model="known"))) == CATALOGUED


def test_the_target_overrides_the_catalog() -> None:
    """Each fact given at the target wins over the catalog's."""
    target = ModelTarget(
        provider="paid",
        model="known",
        context_window_tokens=5,
        max_output_tokens=4,
        input_modalities=(Modality.TEXT, Modality.IMAGE),
        tools=True,
    )
    known = facts_of(configuration(target))
    assert (known.context_window_tokens, known.max_output_tokens, known.tools) == (5, 4, True)
    assert known.input_modalities == (Modality.TEXT, Modality.IMAGE)


def test_prices_come_from_target_then_table_then_catalog() -> None:
    """The nearer price wins, and its version says whose it is."""
    near = PriceOverride(input_usd_per_mtok=Decimal(2), output_usd_per_mtok=Decimal("0.5"))
    table = {
        "paid/known": PriceOverride(
            input_usd_per_mtok=Decimal(1), cached_input_usd_per_mtok=Decimal("0.1")
        )
    }
    at_target = configuration(ModelTarget(provider="paid", model="known", price=near), prices=table)
    in_table = configuration(ModelTarget(provider="paid", model="known"), prices=table)
    version = f"configuration-{RoutingTable(at_target, Catalog().facts).version}"
    assert price_of(at_target) == Price(
        input_nanousd_per_mtok=2_000_000_000,
        cached_input_nanousd_per_mtok=2_000_000_000,
        output_nanousd_per_mtok=500_000_000,
        version=version,
    )
    found = price_of(in_table)
    assert found is not None
    assert found.cached_input_nanousd_per_mtok == 100_000_000


@pytest.mark.parametrize(
    ("provider", "version"), [("free", "free"), ("lenient", "unknown"), ("paid", None)]
)
def test_an_unknown_model_costs_nothing_only_where_that_was_said(
    provider: str, version: str | None
) -> None:
    """Free providers are free, lenient ones serve at an unknown price, all others have none."""
    price = price_of(configuration(ModelTarget(provider=provider, model="nobody")))
    assert (price.version if price else None) == version


def test_a_free_provider_never_asks_the_catalog() -> None:
    """So a stack on the simulator never loads the price table."""
    catalog = Catalog()
    table = RoutingTable(configuration(ModelTarget(provider="free", model="known")), catalog.facts)
    assert table.alias("m", at_ms=0) is not None
    assert table.unpriced(at_ms=0) == []
    assert catalog.asked == []


@pytest.mark.parametrize(
    ("alias", "model", "asked", "sent"),
    [
        ("m", "", "m", "m"),
        ("m", "real", "m", "real"),
        ("sim-*", "", "sim-slow", "sim-slow"),
        ("openai/*", "*", "openai/gpt-4o", "gpt-4o"),
        ("eu/*", "accounts/*/x", "eu/a", "accounts/a/x"),
        ("*", "", "anything", "anything"),
    ],
)
def test_a_pattern_passes_the_name_on(alias: str, model: str, asked: str, sent: str) -> None:
    """Without a model the whole alias is passed on; a ``*`` stands for what the alias's matched."""
    config = configuration(ModelTarget(provider="free", model=model), alias=alias)
    found = RoutingTable(config, Catalog().facts).alias(asked, at_ms=0)
    assert found is not None
    assert found.candidates[0].model == sent


def test_a_model_that_nobody_declared_is_not_there() -> None:
    """An unknown name is None, also the second time."""
    table = RoutingTable(configuration(ModelTarget(provider="free")), Catalog().facts)
    assert table.alias("other", at_ms=0) is None
    assert table.alias("other", at_ms=0) is None


def test_prices_are_those_of_the_minute_of_acceptance() -> None:
    """The catalog is asked once a minute and model, always for the minute's beginning."""
    catalog = Catalog()
    table = RoutingTable(configuration(ModelTarget(provider="paid", model="known")), catalog.facts)
    for at_ms in (0, MINUTE_MS - 1, MINUTE_MS, MINUTE_MS + 1):
        table.alias("m", at_ms=at_ms)
    assert catalog.asked == [("paid", "known", 0), ("paid", "known", MINUTE_MS)]


def test_what_is_remembered_is_bounded() -> None:
    """Names come from callers, so they may not fill the memory."""
    config = configuration(ModelTarget(provider="free"), alias="*")
    table = RoutingTable(config, Catalog().facts)
    for number in range(MAX_REMEMBERED + 10):
        table.alias(f"name-{number}", at_ms=0)
    assert len(table._remembered) == 10


def test_unpriced_names_what_will_be_refused() -> None:
    """Targets without a price are named once, patterns left out."""
    targets = (
        ModelTarget(provider="paid", model="known"),
        ModelTarget(provider="paid"),
        ModelTarget(provider="lenient", model="x"),
    )
    config = configuration(*targets)
    assert RoutingTable(config, Catalog().facts).unpriced(at_ms=0) == ["m: paid/m"]
    pattern = configuration(*targets, alias="m*")
    assert RoutingTable(pattern, Catalog().facts).unpriced(at_ms=0) == []


def test_callers_are_keys_and_producers() -> None:
    """A key allows its models; the empty id is that of producers; others are unknown."""
    key = VirtualKey(id="k", tenant="t", hash="0" * 64, models=("m",), disabled=True)
    config = Configuration(
        keys=(key,), kafka_producers=KafkaProducers(enabled=True, models=("sim-*",))
    )
    table = RoutingTable(config, Catalog().facts)
    known, producers = table.caller("k"), table.caller("")
    assert known is not None
    assert (known.models, known.disabled) == (("m",), True)
    assert producers is not None
    assert (producers.models, producers.disabled) == (("sim-*",), False)
    assert table.caller("other") is None


def test_producers_are_refused_unless_enabled() -> None:
    """Without the switch nobody else's records are served."""
    producers = RoutingTable(Configuration(), Catalog().facts).caller("")
    assert producers is not None
    assert producers.disabled


def test_a_classifier_is_that_of_the_aliass_weights() -> None:
    """Other strategies need none; whatever nobody loaded is none."""
    weights = Weights(
        format="", unit=1.0, mean=0.0, deviation=1.0, reference=(0.25, 0.75), grams={}
    )
    target = ModelTarget(provider="free", model="known")
    config = Configuration(
        providers={"free": Provider(base_url="http://f/v1", free=True)},
        models={
            "ranked": Model(strategy=Strategy.COMPLEXITY, targets=(target,)),
            "other": Model(
                strategy=Strategy.COMPLEXITY,
                targets=(target,),
                complexity=Complexity(weights="mine.json"),
            ),
            "plain": Model(targets=(target,)),
        },
    )
    shipped = Classifier(weights)
    table = RoutingTable(config, Catalog().facts, classifiers={"": shipped})
    found = {name: table.alias(name, at_ms=0) for name in config.models}
    assert {name: alias and alias.classifier for name, alias in found.items()} == {
        "ranked": shipped,
        "other": None,
        "plain": None,
    }
    assert [table.reference(name) for name in ("ranked", "plain", "nobody")] == [
        (0.25, 0.75),
        (),
        (),
    ]


@pytest.mark.parametrize("strategy", Strategy)
def test_only_some_strategies_look_at_what_was_observed(strategy: Strategy) -> None:
    """Where no alias has one of them, nothing needs to be followed."""
    config = Configuration(
        providers={"free": Provider(base_url="http://f/v1", free=True)},
        models={"m": Model(strategy=strategy, targets=(ModelTarget(provider="free"),))},
    )
    pure = {Strategy.FIXED, Strategy.TIER, Strategy.WEIGHTED}
    assert RoutingTable(config, Catalog().facts).observes is (strategy not in pure)
