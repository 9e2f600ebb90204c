"""``millrace config check``: every mistake of a configuration file, with line and remedy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer

app = typer.Typer(no_args_is_help=True, help="Look at a configuration file.")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say about a configuration file.

    Attributes:
        summary: One line: what it declares.
        mistakes: One line each; services refuse to start with any.
        warnings: One line each; services start, and what the line names does not work.
    """

    summary: str
    mistakes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@app.callback()
def config() -> None:
    """Look at a configuration file."""


@app.command("check")
def check_command(
    file: Annotated[Path, typer.Argument(help="The file to check.")] = Path("millrace.yaml"),
) -> None:
    """Name every mistake in a configuration file, with its line and remedy.

    Exits with 1 when there is one. Variables of keys that are not set, and models that are refused
    because nobody knows their price, are warnings.
    """
    from services.shared.adapters.environment import process_environment  # noqa: PLC0415
    from services.shared.adapters.system_clock import SystemClock  # noqa: PLC0415
    from services.shared.domain.errors import InvalidConfiguration  # noqa: PLC0415

    now_ms = int(SystemClock().now_ms())
    try:
        report = check(file, environ=process_environment(), now_ms=now_ms)
    except InvalidConfiguration as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    for line in report.mistakes:
        typer.echo(line, err=True)
    for line in report.warnings:
        typer.echo(f"warning: {line}", err=True)
    typer.echo(report.summary)
    if report.mistakes:
        raise typer.Exit(1)


def check(file: Path, *, environ: Mapping[str, str], now_ms: int) -> Report:
    """Check a configuration file.

    Args:
        file: The file.
        environ: Environment in which the services would run.
        now_ms: Unix ms; prices are dated.

    Raises:
        InvalidConfiguration: The file cannot be read or is no YAML. Not retriable.
    """
    # What is imported here takes 40 ms, and 200 ms more where prices are asked for.
    from services.shared.adapters.complexity_weights import classifiers_of  # noqa: PLC0415
    from services.shared.adapters.environment import unset_key_variables  # noqa: PLC0415
    from services.shared.adapters.genai_prices_model_catalog import (  # noqa: PLC0415
        GenaiPricesModelCatalog,
    )
    from services.shared.adapters.yaml_configuration import check_configuration  # noqa: PLC0415
    from services.shared.domain.configuration_version import configuration_version  # noqa: PLC0415
    from services.shared.domain.errors import InvalidConfiguration  # noqa: PLC0415
    from services.shared.domain.target_facts import TargetFacts  # noqa: PLC0415

    read = check_configuration(file)
    count = len(read.mistakes)
    if count:
        return Report(
            summary=f"{file}: {count} mistake{'s' if count > 1 else ''}", mistakes=read.mistakes
        )
    configuration = read.configuration
    try:
        classifiers_of(configuration)
    except InvalidConfiguration as error:
        return Report(summary=f"{file}: 1 mistake", mistakes=(str(error),))
    catalog = GenaiPricesModelCatalog(configuration.providers)
    unpriced = TargetFacts(configuration, catalog.facts).unpriced(at_ms=now_ms)
    unset = unset_key_variables(configuration, environ)
    return Report(
        summary=f"{file}: no mistakes; providers {len(configuration.providers)}, "
        f"models {len(configuration.models)}, keys {len(configuration.keys)}, "
        f"version {configuration_version(configuration)}",
        warnings=(
            *(f"providers.{line} is not set in this environment" for line in unset),
            *(f"models.{line} has no known price, so it is refused" for line in unpriced),
        ),
    )
