"""What environment variables say: the settings of a service, and the configuration of all.

The mapping is an argument, so that nothing else here depends on the process.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from services.shared.adapters.type_words import describe_type
from services.shared.domain.configuration import Configuration, Provider, VirtualKey
from services.shared.domain.configuration_mistakes import mistakes_in
from services.shared.domain.default_configuration import (
    OPENAI_BASE_URL,
    OPENAI_KEY_VARIABLE,
    SIMULATOR_URL,
    openai_configuration,
    simulator_configuration,
    with_local_models,
)
from services.shared.domain.errors import InvalidConfiguration
from services.shared.domain.keys import key_hash, parse_key

PREFIX = "MILLRACE_"
_DEV_TENANT = "dev"

S = TypeVar("S", bound=msgspec.Struct)


def process_environment() -> Mapping[str, str]:
    """The environment of this process, as it is now."""
    return dict(os.environ)


def settings_from_environment(cls: type[S], environ: Mapping[str, str]) -> S:
    """Fill the settings of a service.

    A field ``kafka_bootstrap`` is read from the variable ``MILLRACE_KAFKA_BOOTSTRAP``. An empty
    variable counts as one that is not set.

    Raises:
        InvalidConfiguration: Variables have values that do not fit, or are missing; all are named.
            Not retriable.
    """
    values: dict[str, object] = {}
    mistakes: list[str] = []
    for field in msgspec.structs.fields(cls):
        variable = PREFIX + field.name.upper()
        text = environ.get(variable, "")
        if text:
            try:
                values[field.name] = msgspec.convert(text, field.type, strict=False)
            except msgspec.ValidationError:
                mistakes.append(f"{variable}: '{text[:64]}' is not {describe_type(field.type)}")
        elif field.required:
            mistakes.append(f"{variable} is not set")
    if mistakes:
        raise InvalidConfiguration("\n".join(mistakes))
    return cls(**values)


def configuration_from_environment(environ: Mapping[str, str]) -> Configuration:
    """The configuration of all services.

    It is the file that ``MILLRACE_CONFIG`` names; without one, the models that ``OPENAI_API_KEY``
    opens; without that, the simulator. The development key in ``MILLRACE_DEV_KEY_FILE`` is added.

    Raises:
        InvalidConfiguration: It cannot be read or holds mistakes; all are named. Not retriable.
    """
    path = environ.get(f"{PREFIX}CONFIG", "")
    if path:
        # Only here is YAML needed: 15 ms and 3 MB.
        from services.shared.adapters.yaml_configuration import read_configuration  # noqa: PLC0415

        configuration = read_configuration(Path(path))
    else:
        configuration = configuration_without_file(environ, declared_models(environ))
    return _with_dev_key(configuration, environ.get(f"{PREFIX}DEV_KEY_FILE", ""))


def configuration_without_file(
    environ: Mapping[str, str], models: tuple[str, ...]
) -> Configuration:
    """The configuration that follows from the environment alone.

    Args:
        environ: The environment.
        models: Models of the endpoint that ``OPENAI_API_KEY`` opens; none = whatever is asked for.

    Raises:
        InvalidConfiguration: ``OPENAI_BASE_URL`` or a model's name cannot be used. Not retriable.
    """
    simulator_url = environ.get(f"{PREFIX}SIMULATOR_URL", "")
    if not environ.get(OPENAI_KEY_VARIABLE):
        configuration = simulator_configuration(simulator_url or SIMULATOR_URL)
    else:
        configuration = openai_configuration(
            models,
            base_url=environ.get("OPENAI_BASE_URL", ""),
            simulator_url=simulator_url,
        )
    local_urls = environ.get(f"{PREFIX}LOCAL_MODELS_URL", "").replace(",", " ").split()
    configuration = with_local_models(configuration, local_urls)
    mistakes = mistakes_in(configuration)
    if mistakes:
        found = "\n".join(str(mistake) for mistake in mistakes)
        named = "OPENAI_BASE_URL, MILLRACE_MODELS, MILLRACE_SIMULATOR_URL or _LOCAL_MODELS_URL"
        msg = f"{named} cannot be used:\n{found}"
        raise InvalidConfiguration(msg)
    return configuration


def configuration_document(environ: Mapping[str, str], models: tuple[str, ...]) -> str:
    """``configuration_without_file`` as the text of a ``millrace.yaml``, without any secret."""
    import yaml  # noqa: PLC0415  (15 ms and 3 MB that only the writer needs)

    configuration = configuration_without_file(environ, models)
    body = yaml.safe_dump(
        msgspec.to_builtins(configuration), sort_keys=False, allow_unicode=True, width=100
    )
    return f"# Made from the environment when the stack started; each start writes it anew.\n{body}"


def openai_endpoint(environ: Mapping[str, str]) -> str | None:
    """Root of the endpoint that ``OPENAI_API_KEY`` opens; None when there is no key."""
    if not environ.get(OPENAI_KEY_VARIABLE):
        return None
    return environ.get("OPENAI_BASE_URL", "").rstrip("/") or OPENAI_BASE_URL


def declared_models(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Models named in ``MILLRACE_MODELS``, separated by commas; empty = none are named."""
    names = (name.strip() for name in environ.get(f"{PREFIX}MODELS", "").split(","))
    return tuple(dict.fromkeys(name for name in names if name))


def api_keys_of(provider: Provider, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The keys of a provider, in order of use; variables that are not set are left out."""
    keys = (environ.get(name, "").strip() for name in provider.api_key_names)
    return tuple(key for key in keys if key)


def unset_key_variables(configuration: Configuration, environ: Mapping[str, str]) -> list[str]:
    """Variables that providers name for their keys and that are not set, as ``provider: NAME``."""
    return [
        f"{name}: {variable}"
        for name, provider in configuration.providers.items()
        for variable in provider.api_key_names
        if not environ.get(variable)
    ]


def _with_dev_key(configuration: Configuration, path: str) -> Configuration:
    if not path:
        return configuration
    try:
        key = Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"MILLRACE_DEV_KEY_FILE: {path} cannot be read: {error}"
        raise InvalidConfiguration(msg) from error
    parsed = parse_key(key)
    if parsed is None:
        msg = f"MILLRACE_DEV_KEY_FILE: {path} holds no key; remove it and a new one is made"
        raise InvalidConfiguration(msg)
    if any(known.id == parsed.key_id for known in configuration.keys):
        msg = f"keys: the id '{parsed.key_id}' is that of the development key; choose another"
        raise InvalidConfiguration(msg)
    dev = VirtualKey(id=parsed.key_id, tenant=_DEV_TENANT, hash=key_hash(key))
    return msgspec.structs.replace(configuration, keys=(*configuration.keys, dev))
