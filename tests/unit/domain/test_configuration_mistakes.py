"""Mistakes that no single field of a configuration can know."""

from decimal import Decimal

import msgspec
import pytest

from services.shared.domain.configuration import (
    Configuration,
    KafkaProducers,
    Limits,
    Model,
    ModelTarget,
    PriceOverride,
    Provider,
    VirtualKey,
)
from services.shared.domain.configuration_mistakes import (
    ConfigPath,
    Mistake,
    mistakes_in,
    nearest,
    path_text,
)
from services.shared.domain.configuration_routing import Strategy

OPENAI = Provider(base_url="https://api.openai.com/v1", api_key_env="OPENAI_API_KEY")
KEY = VirtualKey(id="team-a", tenant="a", hash="0" * 64)
GOOD = Configuration(
    providers={"openai": OPENAI},
    models={
        "fast": Model(targets=(ModelTarget(provider="openai", model="gpt-4o-mini"),)),
        "openai/*": Model(targets=(ModelTarget(provider="openai", model="*"),)),
    },
    keys=(KEY,),
    kafka_producers=KafkaProducers(enabled=True, models=("openai/x", "fa*")),
    prices={"openai/ft:*": PriceOverride(input_usd_per_mtok=Decimal(1))},
)


def with_provider(**changes: object) -> Configuration:
    """The good configuration with a provider changed."""
    provider = msgspec.structs.replace(OPENAI, **changes)
    return msgspec.structs.replace(GOOD, providers={"openai": provider})


def with_model(model: Model, alias: str = "m") -> Configuration:
    """The good configuration with a model added."""
    return msgspec.structs.replace(GOOD, models={**GOOD.models, alias: model})


def with_target(alias: str = "m", **values: object) -> Configuration:
    """The good configuration with a model of one target added."""
    target = ModelTarget(**{"provider": "openai", **values})  # type: ignore[arg-type]  # test's names
    return with_model(Model(targets=(target,)), alias)


def with_key(**changes: object) -> Configuration:
    """The good configuration with a key changed."""
    return msgspec.structs.replace(GOOD, keys=(msgspec.structs.replace(KEY, **changes),))


def with_price(name: str, usd: str) -> Configuration:
    """The good configuration with one price."""
    price = PriceOverride(input_usd_per_mtok=Decimal(usd))
    return msgspec.structs.replace(GOOD, prices={name: price})


TWICE = Model(targets=(ModelTarget(provider="openai"), ModelTarget(provider="openai", model="m")))
WEIGHTLESS = Model(strategy=Strategy.WEIGHTED, targets=(ModelTarget(provider="openai", weight=0),))
DEAR = PriceOverride(input_usd_per_mtok=Decimal(1), output_usd_per_mtok=Decimal(1_000_001))


def test_a_good_configuration_has_no_mistake() -> None:
    """Patterns, prices, keys and producers as documented are accepted."""
    assert mistakes_in(GOOD) == []


@pytest.mark.parametrize(
    ("configuration", "path", "words"),
    [
        pytest.param(
            msgspec.structs.replace(GOOD, providers={"openai": OPENAI, "a/b": OPENAI}),
            ("providers", "a/b"),
            "no name for a provider",
            id="provider_name",
        ),
        pytest.param(
            with_provider(base_url="api.openai.com"),
            ("providers", "openai", "base_url"),
            "no URL",
            id="no_scheme",
        ),
        pytest.param(
            with_provider(base_url="http://h:65536/v1"),
            ("providers", "openai", "base_url"),
            "no URL",
            id="port",
        ),
        pytest.param(
            with_provider(base_url="http://user:pw@h/v1"),
            ("providers", "openai", "base_url"),
            "user name or password",
            id="secret_in_url",
        ),
        pytest.param(
            with_provider(endpoints=("http://a/v1", "nowhere")),
            ("providers", "openai", "endpoints", 1),
            "no URL",
            id="endpoint",
        ),
        pytest.param(
            with_provider(base_url="http://a/v1", endpoints=("http://b/v1", "http://a/v1/")),
            ("providers", "openai", "endpoints", 1),
            "there twice",
            id="endpoint_twice",
        ),
        pytest.param(
            with_provider(proxy="proxy:3128"),
            ("providers", "openai", "proxy"),
            "no URL",
            id="proxy",
        ),
        pytest.param(
            with_provider(api_key_env="sk-proj-123"),
            ("providers", "openai", "api_key_env"),
            "not the name of an environment variable",
            id="key_itself",
        ),
        pytest.param(
            with_provider(api_key_env=("A", "sk-1")),
            ("providers", "openai", "api_key_env", 1),
            "not the name of an environment variable",
            id="key_itself_in_list",
        ),
        pytest.param(
            with_target(alias="a*b"), ("models", "a*b"), "no name for a model", id="star_inside"
        ),
        pytest.param(
            with_target(alias="two words"), ("models", "two words"), "no name", id="alias_space"
        ),
        pytest.param(
            with_model(Model(targets=())), ("models", "m", "targets"), "is empty", id="no_targets"
        ),
        pytest.param(
            with_model(WEIGHTLESS),
            ("models", "m", "targets"),
            "every weight is 0",
            id="weights_all_zero",
        ),
        pytest.param(
            with_model(TWICE), ("models", "m", "targets", 1), "is there twice", id="target_twice"
        ),
        pytest.param(
            with_target(provider="opnai"),
            ("models", "m", "targets", 0, "provider"),
            "'opnai' is not a provider; did you mean 'openai'?",
            id="unknown_provider",
        ),
        pytest.param(
            with_target(model="a b"),
            ("models", "m", "targets", 0, "model"),
            "no name for a model",
            id="model_name",
        ),
        pytest.param(
            with_target(model="x/*"),
            ("models", "m", "targets", 0, "model"),
            "stands for nothing",
            id="star_without_pattern",
        ),
        pytest.param(
            with_target(alias="x*", model="*/*"),
            ("models", "x*", "targets", 0, "model"),
            "stands for nothing",
            id="two_stars",
        ),
        pytest.param(
            with_target(price=DEAR),
            ("models", "m", "targets", 0, "price", "output_usd_per_mtok"),
            "no price",
            id="price_of_target",
        ),
        pytest.param(
            msgspec.structs.replace(GOOD, keys=(KEY, KEY)),
            ("keys", 1, "id"),
            "'team-a' is there twice",
            id="key_twice",
        ),
        pytest.param(with_key(id="a_b"), ("keys", 0, "id"), "no id for a key", id="key_id"),
        pytest.param(with_key(tenant=""), ("keys", 0, "tenant"), "is empty", id="no_tenant"),
        pytest.param(with_key(hash="gw_x"), ("keys", 0, "hash"), "no SHA-256", id="hash"),
        pytest.param(
            with_key(models=("fast", "fsat")),
            ("keys", 0, "models", 1),
            "'fsat' is not a model; did you mean 'fast'?",
            id="unknown_model_allowed",
        ),
        pytest.param(
            with_key(models=("zzz*",)),
            ("keys", 0, "models", 0),
            "not a model",
            id="pattern_of_none",
        ),
        pytest.param(
            msgspec.structs.replace(
                GOOD, kafka_producers=KafkaProducers(enabled=True, tenant="", models=("fast",))
            ),
            ("kafka_producers", "tenant"),
            "is empty",
            id="producers_without_tenant",
        ),
        pytest.param(
            msgspec.structs.replace(GOOD, kafka_producers=KafkaProducers(models=("x",))),
            ("kafka_producers", "models", 0),
            "not a model",
            id="producers_model",
        ),
        pytest.param(
            msgspec.structs.replace(GOOD, limits=Limits(max_deadline_s=10)),
            ("limits", "request_timeout_s"),
            "longer than max_deadline_s",
            id="timeout_beyond_deadline",
        ),
        pytest.param(with_price("openai", "1"), ("prices", "openai"), "no price", id="price_name"),
        pytest.param(
            with_price("openai/a*b", "1"), ("prices", "openai/a*b"), "no price", id="price_star"
        ),
        pytest.param(
            with_price("nobody/x", "1"),
            ("prices", "nobody/x"),
            "not a provider",
            id="price_of_none",
        ),
        pytest.param(
            with_price("openai/x", "-1"),
            ("prices", "openai/x", "input_usd_per_mtok"),
            "no price",
            id="negative_price",
        ),
        pytest.param(
            with_price("openai/x", "NaN"),
            ("prices", "openai/x", "input_usd_per_mtok"),
            "no price",
            id="price_not_a_number",
        ),
    ],
)
def test_each_mistake_is_found_where_it_is(
    configuration: Configuration, path: ConfigPath, words: str
) -> None:
    """Exactly one mistake is found, at its place, in words that say what is wrong."""
    (mistake,) = mistakes_in(configuration)
    assert mistake.path == path
    assert words in str(mistake)


def test_a_configuration_that_serves_nothing_is_a_mistake() -> None:
    """Providers and models have to be declared."""
    assert [mistake.path for mistake in mistakes_in(Configuration())] == [
        ("providers",),
        ("models",),
    ]


def test_all_mistakes_are_found_at_once() -> None:
    """One mistake does not hide another."""
    configuration = msgspec.structs.replace(
        with_target(provider="x"), keys=(KEY, KEY), prices={"a": DEAR}
    )
    assert len(mistakes_in(configuration)) == 4


def test_no_mistake_repeats_a_secret() -> None:
    """What may be a key or a password never appears in a message."""
    configuration = msgspec.structs.replace(
        with_provider(base_url="http://u:hunter2@h", api_key_env="sk-hunter2"),
        keys=(msgspec.structs.replace(KEY, hash="gw_hunter2"),),
    )
    found = mistakes_in(configuration)
    assert len(found) == 3
    assert "hunter2" not in "".join(map(str, found))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), "the file"),
        (("models", "gpt-4.1", "targets", 0, "provider"), "models.gpt-4.1.targets[0].provider"),
    ],
)
def test_a_path_reads_like_the_file(path: ConfigPath, text: str) -> None:
    """Names are joined by dots, positions stand in brackets."""
    assert path_text(path) == text


def test_a_mistake_is_one_line_with_its_remedy() -> None:
    """Place, problem and, where there is one, the remedy."""
    assert str(Mistake(path=("a",), problem="is bad")) == "a: is bad"
    assert str(Mistake(path=("a",), problem="is bad", remedy="mend it")) == "a: is bad; mend it"


@pytest.mark.parametrize(
    ("name", "known", "remedy"),
    [
        ("opnai", ["openai", "azure"], "did you mean 'openai'?"),
        ("zzz", ["openai", "azure"], "known: azure, openai"),
        ("zzz", [], ""),
        ("zzz", [f"name-{n:02}" for n in range(13)], "known: name-00, "),
    ],
)
def test_the_nearest_name_is_offered(name: str, known: list[str], remedy: str) -> None:
    """A similar name is suggested; without one, the known names are listed, not all of many."""
    assert nearest(name, known).startswith(remedy)
    assert nearest(name, known).endswith("...") == (len(known) > 12)
