"""How a command does what it does: for people or for programs, asking first, or only pretending."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="MILLRACE_CONFIG",
        help="Default: what the stack serves by.",
        metavar="FILE",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How something is done.

    Attributes:
        dry_run: Only say what would be done.
        yes: Do not ask.
        as_json: Say it for programs.
    """

    dry_run: bool = False
    yes: bool = False
    as_json: bool = False


def print_json(document: Any) -> None:
    """Print a document for programs."""
    text = msgspec.json.format(msgspec.json.encode(document), indent=2)
    sys.stdout.write(text.decode() + "\n")


def ask(question: str, *, yes: bool) -> None:
    """Go on only if somebody agrees.

    Raises:
        typer.Abort: Nobody did.
    """
    if not yes:
        typer.confirm(question, abort=True, err=True)
