"""The first container of a Compose stack leaves the others what they need."""

from pathlib import Path

import pytest

from deploy.first_start import prepare
from services.cli.local_stack.state import Layout
from services.shared.adapters.yaml_configuration import read_configuration
from services.shared.domain.errors import InvalidConfiguration
from services.shared.domain.keys import parse_key

_ENVIRON = {"MILLRACE_SIMULATOR_URL": "http://simulator:8090"}
_OWN = """
providers:
  house:
    base_url: http://house.example/v1
    api_key_env: [HOUSE_API_KEY]
models:
  "*":
    targets: [{provider: house}]
"""


def test_secrets_are_made_once(tmp_path: Path) -> None:
    """A second start keeps the secret and the key, and does not show the key again."""
    layout = Layout(tmp_path)
    first = list(prepare(layout, mounted=tmp_path / "none", environ=_ENVIRON))
    secret, key = layout.secret.read_bytes(), layout.dev_key.read_text().strip()
    second = list(prepare(layout, mounted=tmp_path / "none", environ=_ENVIRON))

    assert parse_key(key) is not None
    assert first == [f"development key, shown once: {key}", "configuration: none; the simulator"]
    assert second == ["configuration: none; the simulator"]
    assert (layout.secret.read_bytes(), layout.dev_key.read_text().strip()) == (secret, key)


def test_without_a_file_the_simulator_answers(tmp_path: Path) -> None:
    """The configuration that services read names the simulator's container."""
    list(prepare(Layout(tmp_path), mounted=tmp_path / "none", environ=_ENVIRON))
    providers = read_configuration(tmp_path / "millrace.yaml").providers
    assert [provider.base_url for provider in providers.values()] == ["http://simulator:8090/v1"]


def test_a_mounted_file_is_what_services_read(tmp_path: Path) -> None:
    """The user's own configuration is handed on as it is; a key that is not set is warned of."""
    mounted = tmp_path / "mounted.yaml"
    mounted.write_text(_OWN)
    said = list(prepare(Layout(tmp_path), mounted=mounted, environ=_ENVIRON))
    assert (tmp_path / "millrace.yaml").read_text() == _OWN
    assert said[-1] == "warning: no key is set for provider house: HOUSE_API_KEY"


def test_a_mounted_file_with_a_mistake_is_refused(tmp_path: Path) -> None:
    """A mistake stops the start and names itself; services keep what they had."""
    mounted = tmp_path / "mounted.yaml"
    mounted.write_text("modells: {}\n")
    with pytest.raises(InvalidConfiguration, match="modells"):
        list(prepare(Layout(tmp_path), mounted=mounted, environ=_ENVIRON))
    assert not (tmp_path / "millrace.yaml").exists()


def test_the_local_models_container_is_a_provider(tmp_path: Path) -> None:
    """Compose names it to all, so that ``local/minilm`` is offered there as well."""
    layout = Layout(tmp_path)
    environ = {**_ENVIRON, "MILLRACE_LOCAL_MODELS_URL": "http://local-models:8091"}
    list(prepare(layout, mounted=tmp_path / "none", environ=environ))
    configuration = read_configuration(layout.root / "millrace.yaml")
    assert configuration.providers["local"].base_url == "http://local-models:8091/v1"
    assert "local/minilm" in configuration.models
