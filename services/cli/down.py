"""``millrace down``: stops the stack."""

import typer

from services.cli.invocation import DEFAULT_DATA, DataOption, invocation_of


def down(context: typer.Context, *, data: DataOption = DEFAULT_DATA) -> None:
    """Stop the stack, in order; its data stays."""
    from services.cli.local_stack.stop import stop_stack  # noqa: PLC0415  keeps --help quick

    invocation = invocation_of(context)
    invocation.console.print(stop_stack(invocation.path(data)), soft_wrap=True)
