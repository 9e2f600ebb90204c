"""Which Kafka a command speaks to: the one that is named, else that of the local stack."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.errors import CommandError
from services.cli.invocation import Invocation

if TYPE_CHECKING:
    from services.cli.local_stack.state import Stack

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
    stack = running_stack(invocation, data=data)
    if stack is None or "kafka" not in stack.addresses:
        raise CommandError(
            f"No stack runs on {invocation.path(data)}. Start one with 'millrace up', or name "
            "brokers with --bootstrap."
        )
    return stack.addresses["kafka"]


def running_stack(invocation: Invocation, *, data: Path) -> "Stack | None":
    """The stack of a data directory, while it runs."""
    from services.cli.local_stack.lock import holder  # noqa: PLC0415  keeps --help quick
    from services.cli.local_stack.state import Layout, read_stack  # noqa: PLC0415

    layout = Layout(invocation.path(data))
    return None if holder(layout) is None else read_stack(layout)
