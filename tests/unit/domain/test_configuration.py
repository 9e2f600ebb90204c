"""The types of the configuration, its defaults and its version."""

import msgspec
import pytest

from services.shared.domain.configuration import (
    Batcher,
    BatchWindow,
    Configuration,
    EmbeddingsWindow,
    Model,
    ModelTarget,
    Provider,
    Retries,
    VirtualKey,
)
from services.shared.domain.configuration_mistakes import mistakes_in
from services.shared.domain.configuration_version import configuration_version
from services.shared.domain.default_configuration import (
    DEMO_EMBEDDINGS_MODEL,
    DEMO_MODEL,
    openai_configuration,
    simulator_configuration,
)

KEY = VirtualKey(id="k", tenant="t", hash="0" * 64)


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ((), ()),
        ("KEY", ("KEY",)),
        ("env:KEY", ("KEY",)),
        (("env:A", "B"), ("A", "B")),
    ],
)
def test_key_variables_are_named_one_way_or_the_other(
    said: str | tuple[str, ...], names: tuple[str, ...]
) -> None:
    """``NAME``, ``env:NAME`` and lists of them mean the same."""
    assert Provider(base_url="http://x", api_key_env=said).api_key_names == names


def test_windows_left_out_keep_the_defaults_of_their_operation() -> None:
    """Naming one bound of the embeddings window leaves the others as they are for embeddings."""
    batcher = msgspec.convert({"embeddings": {"max_count": 7}}, Batcher)
    assert batcher.embeddings == EmbeddingsWindow(max_count=7)
    assert batcher.embeddings.window_ms == 10
    assert batcher.chat == BatchWindow()


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (BatchWindow, {"window_ms": 10.1}),
        (Retries, {"max_attempts": 4}),
        (Retries, {"budget_ratio": 1.1}),
        (ModelTarget, {"provider": "p", "weight": -1}),
        (VirtualKey, {"id": "k", "tenant": "t", "hash": "", "priority": 3}),
    ],
)
def test_bounds_stand_in_the_types(kind: type[msgspec.Struct], values: dict[str, object]) -> None:
    """Windows above 10 ms, more than 3 attempts and the like cannot be written."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(values, kind)


def test_the_version_is_that_of_the_meaning() -> None:
    """Order, defaults written out and hashes of keys do not change it; what routes does."""
    one = Configuration(
        providers={"a": Provider(base_url="http://a"), "b": Provider(base_url="http://b")},
        models={"m": Model(targets=(ModelTarget(provider="a"),))},
        keys=(KEY, VirtualKey(id="j", tenant="t", hash="1" * 64)),
    )
    version = configuration_version(one)
    assert len(version) == 12
    same = msgspec.structs.replace(
        one,
        providers=dict(reversed(one.providers.items())),
        models={"m": Model(targets=(ModelTarget(provider="a", weight=1),), merge=True)},
        keys=tuple(msgspec.structs.replace(key, hash="2" * 64) for key in reversed(one.keys)),
    )
    assert configuration_version(same) == version
    for other in (
        msgspec.structs.replace(one, keys=()),
        msgspec.structs.replace(one, models={}),
        msgspec.structs.replace(one, keys=(msgspec.structs.replace(KEY, models=("m",)),)),
    ):
        assert configuration_version(other) != version


@pytest.mark.parametrize(
    ("url", "base_url"),
    [
        ("http://127.0.0.1:8090", "http://127.0.0.1:8090/v1"),
        ("http://127.0.0.1:8090/", "http://127.0.0.1:8090/v1"),
        ("http://127.0.0.1:8090/v1/", "http://127.0.0.1:8090/v1"),
        ("http://sim.internal/a/v1", "http://sim.internal/a/v1"),
    ],
)
def test_the_simulator_is_found_with_or_without_a_path(url: str, base_url: str) -> None:
    """``/v1`` is added to a bare address only."""
    assert simulator_configuration(url).providers["simulator"].base_url == base_url


def test_the_local_default_needs_no_key_and_serves_everybody() -> None:
    """It has no mistake, is free, and Kafka producers are served."""
    local = simulator_configuration()
    assert mistakes_in(local) == []
    assert local.providers["simulator"].free
    assert local.kafka_producers.enabled
    assert list(local.models) == [DEMO_MODEL, DEMO_EMBEDDINGS_MODEL, "sim-*"]


def test_an_endpoints_models_are_served_under_their_own_names() -> None:
    """Each name is an alias of itself at the endpoint, whose key stays in the environment."""
    made = openai_configuration(["gpt-4o", "o3"], base_url="http://h/v1/", simulator_url="http://s")
    assert mistakes_in(made) == []
    assert list(made.models)[:2] == ["gpt-4o", "o3"]
    assert DEMO_MODEL in made.models
    assert made.models["o3"].targets == (ModelTarget(provider="openai"),)
    assert made.providers["openai"].base_url == "http://h/v1"
    assert made.providers["openai"].api_key_names == ("OPENAI_API_KEY",)


def test_an_endpoint_without_a_list_passes_every_name_on() -> None:
    """With no models known, whatever is asked for is passed on to OpenAI itself."""
    made = openai_configuration([])
    assert mistakes_in(made) == []
    assert list(made.models) == ["*"]
    assert made.providers["openai"].base_url == "https://api.openai.com/v1"
    assert "simulator" not in made.providers
