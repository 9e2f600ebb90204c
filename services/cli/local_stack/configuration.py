"""The configuration that all services of a stack read: the user's file, else one made here."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import msgspec

from services.cli.local_stack.state import Layout, write_atomically
from services.shared.adapters.environment import (
    configuration_document,
    openai_endpoint,
    unset_key_variables,
)
from services.shared.adapters.yaml_configuration import read_configuration

USUAL_FILE = "millrace.yaml"


class ChosenConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """What the services read.

    Attributes:
        path: The file.
        origin: Where it comes from, for people.
        provider_keys: Environment variables that hold the providers' keys.
        unset: Those of them that are not set, as ``provider: NAME``.
    """

    path: Path
    origin: str
    provider_keys: frozenset[str]
    unset: list[str]


def choose_configuration(
    given: Path | None, *, layout: Layout, simulator_url: str, environ: Mapping[str, str]
) -> ChosenConfiguration:
    """Check the user's file, or write one that follows from the environment.

    Raises:
        InvalidConfiguration: It holds mistakes, or the endpoint of ``OPENAI_API_KEY`` cannot be
            asked for its models; names each with its remedy. Not retriable.
    """
    if given is not None:
        path, origin = given, str(given)
    else:
        path = layout.root / USUAL_FILE
        known = {**environ, "MILLRACE_SIMULATOR_URL": simulator_url}
        write_atomically(path, configuration_document(known, _models(known)).encode())
        endpoint = openai_endpoint(environ)
        origin = f"OPENAI_API_KEY, models of {endpoint}" if endpoint else "none; the simulator"
    configuration = read_configuration(path)
    return ChosenConfiguration(
        path=path,
        origin=origin,
        provider_keys=frozenset(
            name for provider in configuration.providers.values() for name in provider.api_key_names
        ),
        unset=unset_key_variables(configuration, environ),
    )


def _models(environ: Mapping[str, str]) -> tuple[str, ...]:
    if openai_endpoint(environ) is None:
        return ()
    # Only here is aiohttp needed: 0.2 s and 15 MB.
    from services.shared.adapters.openai_model_list import served_models  # noqa: PLC0415

    return asyncio.run(served_models(environ))
