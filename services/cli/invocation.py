"""What a command knows of the place it was called from; its only way to the outside."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console


class Invocation(msgspec.Struct, frozen=True, kw_only=True):
    """Given to every command as ``context.obj``.

    Attributes:
        environ: The environment.
        folder: The current folder, which relative paths start from.
        console: Where results go.
        errors: Where notices and errors go.
    """

    environ: Mapping[str, str]
    folder: Path
    console: Console
    errors: Console

    def path(self, given: Path) -> Path:
        """A path that the user gave, absolute."""
        return (self.folder / given.expanduser()).resolve()


def invocation_of(context: typer.Context) -> Invocation:
    """The invocation that a command runs in."""
    invocation = context.find_object(Invocation)
    if invocation is None:
        msg = "commands are started by services.cli.__main__"
        raise TypeError(msg)
    return invocation


DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        envvar="MILLRACE_DATA",
        help="Data directory of the stack.",
        metavar="DIR",
    ),
]
DEFAULT_DATA = Path(".millrace")
