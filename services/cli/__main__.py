"""The ``millrace`` command."""

import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from services.cli import config_check, topics
from services.cli.cache.commands import app as cache_app
from services.cli.dlq.commands import app as dlq_app
from services.cli.doctor import doctor
from services.cli.down import down
from services.cli.encoder import encoder
from services.cli.invocation import Invocation
from services.cli.produce import produce
from services.cli.route.commands import app as route_app
from services.cli.status import status
from services.cli.tail import tail
from services.cli.trace import trace
from services.cli.up import up
from services.cli.usage import usage
from services.shared.domain.errors import MillraceError

app = typer.Typer(
    name="millrace",
    help="An LLM gateway built as an event-streaming pipeline.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(up)
app.command()(down)
app.command()(status)
app.command()(doctor)
app.command()(encoder)
app.command()(produce)
app.command()(tail)
app.command()(trace)
app.command()(usage)
app.add_typer(topics.app, name="topics")
app.add_typer(dlq_app, name="dlq")
app.add_typer(cache_app, name="cache")
app.add_typer(route_app, name="route")
app.add_typer(config_check.app, name="config")


_USAGE_ERROR = 2
_UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE})


def main() -> None:
    """Run the command line; an error that was foreseen is one message and exit code 1.

    An argument that is no text is exit code 2, as other mistakes in arguments are.
    """
    errors = Console(stderr=True)
    invocation = Invocation(
        environ=dict(os.environ), folder=Path.cwd(), console=Console(), errors=errors
    )
    if wrong := no_text(sys.argv[1:]):
        _say(errors, wrong)
        sys.exit(_USAGE_ERROR)
    try:
        try:
            app(obj=invocation)
        finally:
            sys.stdout.flush()  # what the interpreter cannot write at its end it only warns of
    except MillraceError as error:
        _say(errors, str(error))
        sys.exit(1)
    except OSError as error:
        if error.errno not in _UNWRITABLE or error.filename is not None:
            raise
        _forget_output()
        if error.errno != errno.EPIPE:  # else whoever reads has seen enough
            _say(errors, f"The output cannot be written: {error.strerror}.")
        sys.exit(1)


def no_text(arguments: Sequence[str]) -> str:
    """What is wrong with the first argument that is not valid UTF-8; empty = nothing."""
    for number, argument in enumerate(arguments, 1):
        try:
            argument.encode()
        except UnicodeEncodeError:
            return f"Argument {number} is not valid UTF-8: {os.fsencode(argument)!r}."
    return ""


def _say(errors: Console, text: str) -> None:
    errors.print(f"error: {text}", style="red", soft_wrap=True, markup=False, highlight=False)


def _forget_output() -> None:
    """Have what is left in the buffer go nowhere, or the interpreter fails at it again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


if __name__ == "__main__":
    main()
