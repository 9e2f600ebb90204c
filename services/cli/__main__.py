"""The ``millrace`` command."""

import os
import sys
from pathlib import Path

import typer
from rich.console import Console

from services.cli import config_check, topics
from services.cli.cache.commands import app as cache_app
from services.cli.dlq.commands import app as dlq_app
from services.cli.doctor import doctor
from services.cli.down import down
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
app.command()(produce)
app.command()(tail)
app.command()(trace)
app.command()(usage)
app.add_typer(topics.app, name="topics")
app.add_typer(dlq_app, name="dlq")
app.add_typer(route_app, name="route")
app.add_typer(cache_app, name="cache")
app.add_typer(config_check.app, name="config")


def main() -> None:
    """Run the command line; an error that was foreseen is one message and exit code 1."""
    errors = Console(stderr=True)
    invocation = Invocation(
        environ=dict(os.environ), folder=Path.cwd(), console=Console(), errors=errors
    )
    try:
        app(obj=invocation)
    except MillraceError as error:
        errors.print(f"error: {error}", style="red", soft_wrap=True, markup=False, highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
