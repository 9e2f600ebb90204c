"""``millrace status``: what runs, where, and how it is."""

import typer

from services.cli.invocation import DEFAULT_DATA, DataOption, invocation_of
from services.cli.manner import JsonOption

NOT_RUNNING = 3
NOT_READY = 1


def status(
    context: typer.Context,
    *,
    data: DataOption = DEFAULT_DATA,
    as_json: JsonOption = False,
) -> None:
    """Show every process and address. Exit code: 0 = ready, 1 = not all of it, 3 = not running."""
    import asyncio  # noqa: PLC0415  keeps --help quick
    import json  # noqa: PLC0415

    from services.cli.local_stack.report import read_report  # noqa: PLC0415
    from services.cli.local_stack.screen import status_table  # noqa: PLC0415

    invocation = invocation_of(context)
    report = asyncio.run(read_report(invocation.path(data)))
    console = invocation.console
    if as_json:
        typer.echo(json.dumps(report.document(), indent=2))
    elif report.stack is None:
        console.print(f"No stack runs on {invocation.path(data)}.", soft_wrap=True)
    else:
        console.print(status_table(report.rows))
        for name, address in report.stack.addresses.items():
            console.print(f"{name:<18} {address}", soft_wrap=True, highlight=False)
    if report.stack is None:
        raise typer.Exit(NOT_RUNNING)
    if not report.is_ready:
        raise typer.Exit(NOT_READY)
