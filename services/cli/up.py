"""``millrace up``: the whole stack on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.invocation import DEFAULT_DATA, DataOption, Invocation, invocation_of


def up(  # noqa: PLR0913  one argument an option
    context: typer.Context,
    *,
    data: DataOption = DEFAULT_DATA,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="MILLRACE_CONFIG",
            help="Configuration; without it ./millrace.yaml if there is one, else what "
            "OPENAI_API_KEY opens, else the simulator.",
            metavar="FILE",
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of the OpenAI endpoint.", min=1, max=65535)
    ] = None,
    partitions: Annotated[
        int | None,
        typer.Option(help="Partitions of each topic; fixed at the first start on a directory."),
    ] = None,
    scale: Annotated[
        list[str] | None,
        typer.Option(help="Run several processes of a service.", metavar="SERVICE=N"),
    ] = None,
    fsync: Annotated[
        bool,
        typer.Option(
            "--fsync",
            help="Have Kafka force each write to the disk: a power loss then loses nothing that "
            "was accepted.",
        ),
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    no_table: Annotated[bool, typer.Option("--no-table", help="Log lines only.")] = False,
    demo: Annotated[
        bool, typer.Option("--demo", help="Send a first request and show its journey.")
    ] = False,
    background: Annotated[bool, typer.Option("--background", hidden=True)] = False,
) -> None:
    """Start Kafka, Redis and every service on this machine, and keep them running."""
    from services.cli.local_stack.detach import start_detached  # noqa: PLC0415  keeps --help quick
    from services.cli.local_stack.services import parse_scale  # noqa: PLC0415
    from services.cli.local_stack.start import StartRequest, run_stack  # noqa: PLC0415

    invocation = invocation_of(context)
    request = StartRequest(
        data=invocation.path(data),
        config=_configuration(invocation, config, data=invocation.path(data)),
        port=port,
        partitions=partitions,
        scale=parse_scale(scale or []),
        fsync=fsync,
        with_table=invocation.console.is_terminal and not (no_table or background),
        in_background=background,
        with_demo=demo,
    )
    if detach:
        start_detached(request, environ=invocation.environ, console=invocation.console)
    else:
        run_stack(request, environ=invocation.environ, console=invocation.console)


def _configuration(invocation: Invocation, given: Path | None, *, data: Path) -> Path | None:
    """The file asked for, else the one in this folder, unless a stack made that one itself."""
    if given is not None:
        return invocation.path(given)
    usual = invocation.path(Path("millrace.yaml"))
    return usual if usual.exists() and usual.parent != data else None
