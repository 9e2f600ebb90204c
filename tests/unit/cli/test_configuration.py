"""The configuration that all services of a stack read."""

from pathlib import Path

import pytest

from services.cli.local_stack.configuration import choose_configuration, providers_misled
from services.cli.local_stack.state import Layout
from services.shared.adapters.yaml_configuration import read_configuration
from services.shared.domain.errors import InvalidConfiguration

SIMULATOR = "http://127.0.0.1:8090"
MINE = """\
providers:
  mine: {base_url: "https://mine.example/v1", api_key_env: [MY_KEY, env:MY_OTHER_KEY]}
models:
  fast: {targets: [{provider: mine, model: m}]}
"""


def test_without_anything_the_simulator_serves(tmp_path: Path) -> None:
    """The file that is made for the services names no secret and no provider but the simulator."""
    chosen = choose_configuration(
        None, layout=Layout(tmp_path), simulator_url=SIMULATOR, environ={}
    )
    configuration = read_configuration(chosen.path)
    assert [p.base_url for p in configuration.providers.values()] == [f"{SIMULATOR}/v1"]
    assert (chosen.provider_keys, chosen.unset) == (frozenset(), [])


def test_a_key_of_openai_opens_the_models_that_are_named(tmp_path: Path) -> None:
    """The services learn the name of the variable, never the key."""
    environ = {"OPENAI_API_KEY": "sk-made-up", "MILLRACE_MODELS": "a,b"}
    chosen = choose_configuration(
        None, layout=Layout(tmp_path), simulator_url=SIMULATOR, environ=environ
    )
    assert {"a", "b"} <= set(read_configuration(chosen.path).models)
    assert chosen.provider_keys == {"OPENAI_API_KEY"}
    assert "sk-made-up" not in chosen.path.read_text()
    assert "OPENAI_API_KEY" in chosen.origin


def test_a_file_of_ones_own_is_used_as_it_is(tmp_path: Path) -> None:
    """The variables of its keys are known, and those that are not set are named."""
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    chosen = choose_configuration(
        path, layout=Layout(tmp_path), simulator_url=SIMULATOR, environ={"MY_KEY": "k"}
    )
    assert chosen.path == path
    assert chosen.provider_keys == {"MY_KEY", "MY_OTHER_KEY"}
    assert chosen.unset == ["mine: MY_OTHER_KEY"]


def test_providers_at_a_port_that_another_program_has_are_named(tmp_path: Path) -> None:
    """What a file calls the stack's own simulator may be that of another stack."""
    path = tmp_path / "mine.yaml"
    path.write_text(
        "providers:\n"
        '  sim: {base_url: "http://localhost:8090/v1"}\n'
        '  far: {base_url: "http://far.example:8090/v1"}\n'
        '  near: {base_url: "http://127.0.0.1:8085/v1"}\n'
        "models:\n  fast: {targets: [{provider: sim, model: m}]}\n"
    )

    chosen = choose_configuration(
        path, layout=Layout(tmp_path), simulator_url=SIMULATOR, environ={}
    )
    moved = {8090: "http://127.0.0.1:4711", 8091: "http://127.0.0.1:4712"}
    assert providers_misled(chosen.local_ports, moved) == {"sim": "http://127.0.0.1:4711"}
    assert providers_misled(chosen.local_ports, {}) == {}


def test_local_models_are_offered_where_they_run(tmp_path: Path) -> None:
    """Each process of theirs is an endpoint of one provider, and the encoder is needed."""
    urls = ["http://127.0.0.1:8091", "http://127.0.0.1:4711"]
    chosen = choose_configuration(
        None,
        layout=Layout(tmp_path),
        simulator_url=SIMULATOR,
        local_models_urls=urls,
        environ={},
    )
    configuration = read_configuration(chosen.path)
    local = configuration.providers["local"]
    assert (local.base_url, *local.endpoints) == tuple(f"{url}/v1" for url in urls)
    assert local.free
    assert local.isolates_inputs_by_index
    assert "local/minilm" in configuration.models
    assert chosen.needs_local_models
    assert chosen.needs_encoder


@pytest.mark.parametrize(
    ("added", "needs_local_models", "needs_encoder"),
    [
        ("", False, False),
        ("cache: {semantic: {mode: guarded}}", False, True),
        ("  asked: {targets: [{provider: mine, model: m}], semantic: strict}", False, True),
        ("  asked: {targets: [{provider: mine, model: m}], semantic: 'off'}", False, False),
        ("  asked: {targets: [{provider: here, model: minilm}]}", True, True),
    ],
)
def test_what_is_embedded_here_follows_from_the_configuration(
    tmp_path: Path, added: str, *, needs_local_models: bool, needs_encoder: bool
) -> None:
    """Nothing is fetched or started for a configuration that embeds nothing here."""
    here = "  here: {base_url: 'http://localhost:8091/v1', free: true}\n"
    text = MINE.replace("models:\n", f"{here}models:\n") if "here" in added else MINE
    path = tmp_path / "mine.yaml"
    path.write_text(f"{text}{added}\n")
    chosen = choose_configuration(
        path,
        layout=Layout(tmp_path),
        simulator_url=SIMULATOR,
        local_models_urls=["http://127.0.0.1:8091"],
        environ={},
    )
    assert chosen.needs_local_models is needs_local_models
    assert chosen.needs_encoder is needs_encoder


def test_a_mistake_is_told_before_anything_starts(tmp_path: Path) -> None:
    """The message names file and line."""
    path = tmp_path / "mine.yaml"
    path.write_text(MINE.replace("provider: mine", "provider: main"))
    with pytest.raises(InvalidConfiguration, match=r"mine\.yaml:4.*did you mean 'mine'"):
        choose_configuration(path, layout=Layout(tmp_path), simulator_url="", environ={})
