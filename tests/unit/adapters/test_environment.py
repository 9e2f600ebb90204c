"""Settings and configuration from environment variables."""

from pathlib import Path

import msgspec
import pytest

from services.shared.adapters.environment import (
    api_keys_of,
    configuration_document,
    configuration_from_environment,
    configuration_without_file,
    declared_models,
    openai_endpoint,
    process_environment,
    settings_from_environment,
    unset_key_variables,
)
from services.shared.adapters.yaml_configuration import configuration_from_yaml
from services.shared.domain.configuration import Provider
from services.shared.domain.default_configuration import (
    openai_configuration,
    simulator_configuration,
)
from services.shared.domain.errors import InvalidConfiguration
from services.shared.domain.keys import SECRET_BYTES, key_hash, new_key
from services.shared.domain.settings import ServiceSettings

KEY = new_key(environment="dev", key_id="abcd", random=bytes(SECRET_BYTES))
FILE = """\
providers: {p: {base_url: "http://127.0.0.1:1/v1", free: true}}
models: {m: {targets: [{provider: p}]}}
"""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a made-up service."""

    folder: str
    slot: int = 0
    ratio: float = 0.5
    loud: bool = False
    most: int | None = None


def test_each_field_is_read_from_its_variable() -> None:
    """Texts become what the field says; what is not set or empty has its default."""
    environ = {
        "MILLRACE_FOLDER": "7",
        "MILLRACE_SLOT": "3",
        "MILLRACE_RATIO": "",
        "MILLRACE_LOUD": "true",
        "MILLRACE_MOST": "9",
        "MILLRACE_OTHER": "x",
        "SLOT": "8",
    }
    assert settings_from_environment(Settings, environ) == Settings(
        folder="7", slot=3, loud=True, most=9
    )


def test_every_setting_that_does_not_fit_is_named() -> None:
    """One error tells of all variables, by name."""
    environ = {"MILLRACE_SLOT": "three", "MILLRACE_LOUD": "perhaps"}
    with pytest.raises(InvalidConfiguration) as refused:
        settings_from_environment(Settings, environ)
    lines = str(refused.value).splitlines()
    assert [line.split()[0].rstrip(":") for line in lines] == [
        "MILLRACE_FOLDER",
        "MILLRACE_SLOT",
        "MILLRACE_LOUD",
    ]


def test_a_service_starts_with_no_variable_at_all() -> None:
    """The common settings all have defaults."""
    assert settings_from_environment(ServiceSettings, {}) == ServiceSettings()


def test_without_anything_all_runs_on_the_simulator() -> None:
    """No file and no key: the built-in default, at the address that was said."""
    assert configuration_from_environment({}) == simulator_configuration()
    environ = {"MILLRACE_SIMULATOR_URL": "http://127.0.0.1:9", "OPENAI_API_KEY": ""}
    assert configuration_from_environment(environ) == simulator_configuration("http://127.0.0.1:9")


def test_a_key_opens_the_models_that_were_named() -> None:
    """``OPENAI_API_KEY`` with names and address serves those models."""
    environ = {
        "OPENAI_API_KEY": "sk-1",
        "OPENAI_BASE_URL": "http://127.0.0.1:1/v1/",
        "MILLRACE_MODELS": " a, b,,a",
    }
    assert declared_models(environ) == ("a", "b")
    assert configuration_from_environment(environ) == openai_configuration(
        ("a", "b"), base_url="http://127.0.0.1:1/v1"
    )


def test_a_file_takes_precedence(tmp_path: Path) -> None:
    """With a file, keys in the environment declare nothing."""
    path = tmp_path / "millrace.yaml"
    path.write_text(FILE)
    configuration = configuration_from_environment(
        {"MILLRACE_CONFIG": str(path), "OPENAI_API_KEY": "sk-1"}
    )
    assert list(configuration.models) == ["m"]


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"OPENAI_BASE_URL": "api.openai.com"}, "providers.openai.base_url: is no URL"),
        ({"MILLRACE_MODELS": "a b"}, "models.a b: is no name for a model"),
        ({"MILLRACE_SIMULATOR_URL": "x"}, "providers.simulator.base_url: is no URL"),
    ],
)
def test_variables_that_cannot_be_used_are_refused(environ: dict[str, str], words: str) -> None:
    """The error names the variables and what is wrong."""
    with pytest.raises(InvalidConfiguration, match="OPENAI_BASE_URL") as refused:
        configuration_from_environment({"OPENAI_API_KEY": "sk-1", **environ})
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("environ", "models"),
    [
        ({}, ()),
        (
            {"OPENAI_API_KEY": "sk-hunter2", "MILLRACE_SIMULATOR_URL": "http://127.0.0.1:8090"},
            ("gpt-4o",),
        ),
        (
            {"OPENAI_API_KEY": "sk-hunter2", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"},
            ("no", "4.1", "a:b", "#c", "2024-01-01", "'q'"),
        ),
    ],
)
def test_the_written_configuration_is_the_one_it_was_made_from(
    environ: dict[str, str], models: tuple[str, ...]
) -> None:
    """What services read back equals what was meant, whatever names look like; no secret in it."""
    text = configuration_document(environ, models)
    read = configuration_from_yaml(text, name="made.yaml")
    assert read.mistakes == ()
    assert read.configuration == configuration_without_file(environ, models)
    assert "hunter2" not in text


def test_the_development_key_is_added(tmp_path: Path) -> None:
    """Its hash becomes a key of the tenant ``dev`` that may do everything."""
    path = tmp_path / "dev-key"
    path.write_text(KEY + "\n")
    (dev,) = configuration_from_environment({"MILLRACE_DEV_KEY_FILE": str(path)}).keys
    assert (dev.id, dev.tenant, dev.hash, dev.models) == ("abcd", "dev", key_hash(KEY), ())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"sk-1", "holds no key"),
        (KEY.encode() + b"x", "holds no key"),
    ],
)
def test_a_development_key_that_is_none_is_refused(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    """The error names the variable and the file, never the content."""
    path = tmp_path / "dev-key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidConfiguration, match="MILLRACE_DEV_KEY_FILE") as refused:
        configuration_from_environment({"MILLRACE_DEV_KEY_FILE": str(path)})
    assert words in str(refused.value)
    assert "sk-1" not in str(refused.value)


def test_a_declared_key_cannot_hide_the_development_key(tmp_path: Path) -> None:
    """Two keys of one id are refused, since one of them would never work."""
    config, key = tmp_path / "millrace.yaml", tmp_path / "dev-key"
    config.write_text(f"{FILE}keys: [{{id: abcd, tenant: t, hash: '{'0' * 64}'}}]\n")
    key.write_text(KEY)
    with pytest.raises(InvalidConfiguration, match="'abcd'"):
        configuration_from_environment(
            {"MILLRACE_CONFIG": str(config), "MILLRACE_DEV_KEY_FILE": str(key)}
        )


def test_keys_of_providers_come_from_the_variables_they_name() -> None:
    """In order of use, without surrounding space; what is not set is left out and can be named."""
    provider = Provider(base_url="http://x", api_key_env=("env:A", "B", "C"))
    environ = {"A": "1\n", "B": "", "D": "4"}
    assert api_keys_of(provider, environ) == ("1",)
    configuration = msgspec.structs.replace(simulator_configuration(), providers={"p": provider})
    assert unset_key_variables(configuration, environ) == ["p: B", "p: C"]


@pytest.mark.parametrize(
    ("environ", "endpoint"),
    [
        ({}, None),
        ({"OPENAI_API_KEY": "k"}, "https://api.openai.com/v1"),
        ({"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://h/v1/"}, "http://h/v1"),
    ],
)
def test_an_endpoint_needs_a_key(environ: dict[str, str], endpoint: str | None) -> None:
    """Without a key there is no endpoint, with one it is OpenAI's or the one that was named."""
    assert openai_endpoint(environ) == endpoint


def test_the_environment_is_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read once does not change under its reader."""
    monkeypatch.setenv("MILLRACE_SLOT", "1")
    environ = process_environment()
    monkeypatch.setenv("MILLRACE_SLOT", "2")
    assert environ["MILLRACE_SLOT"] == "1"
