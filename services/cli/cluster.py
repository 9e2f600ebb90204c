"""Which Kafka a command speaks to: the one that is named, else that of the local stack."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.errors import CommandError
from services.cli.invocation import Invocation

if TYPE_CHECKING:
    from services.cli.local_stack.state import Stack
    from services.shared.domain.configuration import Configuration

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


def configuration_of(invocation: Invocation, config: Path | None, *, data: Path) -> "Configuration":
    """What ``--config`` names, else what the running stack serves by, else what a start would take.

    The stack's development key is a key of it.

    Raises:
        InvalidConfiguration: It cannot be read or holds mistakes. Not retriable.
    """
    from services.cli.local_stack.configuration import USUAL_FILE  # noqa: PLC0415
    from services.cli.local_stack.state import Layout  # noqa: PLC0415
    from services.shared.adapters.environment import (  # noqa: PLC0415
        configuration_from_environment,
    )

    layout = Layout(invocation.path(data))
    stack = None if config else running_stack(invocation, data=data)
    if config:
        files = [invocation.path(config)]
    elif stack is not None and stack.config:
        files = [Path(stack.config)]
    else:
        usual = invocation.path(Path(USUAL_FILE)), layout.root / USUAL_FILE
        files = [file for file in usual if file.exists()]
    named = {"MILLRACE_CONFIG": str(files[0])} if files else {}
    if layout.dev_key.exists():
        named["MILLRACE_DEV_KEY_FILE"] = str(layout.dev_key)
    return configuration_from_environment({**invocation.environ, **named})
