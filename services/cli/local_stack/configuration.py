"""The configuration that all services of a stack read: the user's file, else one made here."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from services.cli.local_stack.state import Layout, write_atomically
from services.shared.adapters.environment import (
    configuration_document,
    openai_endpoint,
    unset_key_variables,
)
from services.shared.adapters.yaml_configuration import read_configuration
from services.shared.domain.configuration import Configuration
from services.shared.domain.configuration_semantic import SemanticMode

USUAL_FILE = "millrace.yaml"
_LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))


class ChosenConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """What the services read.

    Attributes:
        path: The file.
        origin: Where it comes from, for people.
        provider_keys: Environment variables that hold the providers' keys.
        unset: Those of them that are not set, as ``provider: NAME``.
        local_ports: Ports of this machine that providers name, each with the provider's name.
        needs_local_models: Whether a provider is this stack's own ``local-models``.
        needs_encoder: Whether something embeds here.
    """

    path: Path
    origin: str
    provider_keys: frozenset[str]
    unset: list[str]
    local_ports: list[tuple[str, int]]
    needs_local_models: bool
    needs_encoder: bool


def choose_configuration(
    given: Path | None,
    *,
    layout: Layout,
    simulator_url: str,
    local_models_urls: Sequence[str] = (),
    environ: Mapping[str, str],
) -> ChosenConfiguration:
    """Check the user's file, or write one that follows from the environment.

    Args:
        given: The user's file, or null.
        layout: The data directory.
        simulator_url: Where the simulator will run; empty = it will not.
        local_models_urls: Where the processes of ``local-models`` will run.
        environ: What the configuration follows from otherwise.

    Raises:
        InvalidConfiguration: It holds mistakes, or the endpoint of ``OPENAI_API_KEY`` cannot be
            asked for its models; names each with its remedy. Not retriable.
    """
    if given is not None:
        path, origin = given, str(given)
    else:
        path = layout.root / USUAL_FILE
        known = {**environ, "MILLRACE_SIMULATOR_URL": simulator_url}
        if local_models_urls:
            known["MILLRACE_LOCAL_MODELS_URL"] = ",".join(local_models_urls)
        write_atomically(path, configuration_document(known, _models(known)).encode())
        endpoint = openai_endpoint(environ)
        origin = f"OPENAI_API_KEY, models of {endpoint}" if endpoint else "none; the simulator"
    configuration = read_configuration(path)
    local_ports = _local_ports(configuration)
    ours = {urlsplit(url).port for url in local_models_urls}
    needs_local_models = any(port in ours for _, port in local_ports)
    return ChosenConfiguration(
        path=path,
        origin=origin,
        provider_keys=frozenset(
            name for provider in configuration.providers.values() for name in provider.api_key_names
        ),
        unset=unset_key_variables(configuration, environ),
        local_ports=local_ports,
        needs_local_models=needs_local_models,
        needs_encoder=needs_local_models or _has_semantic_cache(configuration),
    )


def _local_ports(configuration: Configuration) -> list[tuple[str, int]]:
    roots = [
        (name, urlsplit(root))
        for name, provider in configuration.providers.items()
        for root in (provider.base_url, *provider.endpoints)
    ]
    return [(name, root.port) for name, root in roots if root.hostname in _LOOPBACK and root.port]


def providers_misled(
    local_ports: Sequence[tuple[str, int]], moved: Mapping[int, str]
) -> dict[str, str]:
    """Providers at the usual port of a service that runs elsewhere, with where it runs.

    Args:
        local_ports: Of a ``ChosenConfiguration``.
        moved: Where services run whose usual port, the key, another program has.
    """
    return {name: moved[port] for name, port in local_ports if port in moved}


def _has_semantic_cache(configuration: Configuration) -> bool:
    modes = [configuration.cache.semantic.mode]
    modes += [model.semantic for model in configuration.models.values() if model.semantic]
    return any(mode is not SemanticMode.OFF for mode in modes)


def _models(environ: Mapping[str, str]) -> tuple[str, ...]:
    if openai_endpoint(environ) is None:
        return ()
    # Only here is aiohttp needed: 0.2 s and 15 MB.
    from services.shared.adapters.openai_model_list import served_models  # noqa: PLC0415

    return asyncio.run(served_models(environ))
