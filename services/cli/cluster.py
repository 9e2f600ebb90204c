"""Which Kafka a command speaks to: the one that is named, else that of the local stack."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.errors import CommandError
from services.cli.invocation import Invocation

BootstrapOption = Annotated[
    str,
    typer.Option(
        "--bootstrap",
        envvar="MILLRACE_KAFKA_BOOTSTRAP",
        help="Brokers as host:port, separated by commas; default: the local stack's.",
        metavar="HOST:PORT",
    ),
]


def bootstrap_of(invocation: Invocation, *, bootstrap: str, data: Path) -> str:
    """Find the brokers.

    Raises:
        CommandError: None are named and no stack runs.
    """
    if bootstrap:
        return bootstrap
    from services.cli.local_stack.state import Layout, read_stack  # noqa: PLC0415

    stack = read_stack(Layout(invocation.path(data)))
    if stack is None or "kafka" not in stack.addresses:
        raise CommandError(
            f"No stack runs on {invocation.path(data)}. Start one with 'millrace up', or name "
            "brokers with --bootstrap."
        )
    return stack.addresses["kafka"]
