"""``millrace dlq list|show|redrive|purge``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.cluster import BootstrapOption, bootstrap_of
from services.cli.dlq.options import (
    Filters,
    IdsArgument,
    ReasonOption,
    RequestOption,
    RetriableOption,
    SinceOption,
    TopicOption,
    UntilOption,
)
from services.cli.invocation import DEFAULT_DATA, DataOption, invocation_of
from services.cli.manner import DryRunOption, JsonOption, Manner, YesOption

if TYPE_CHECKING:
    from services.cli.dlq.desk import Desk

NOT_ALL_DONE = 1

app = typer.Typer(no_args_is_help=True, help="Look after dead letters: list, show, redrive, purge.")


@app.command("list")
def list_letters(  # noqa: PLR0913  # one argument an option
    context: typer.Context,
    topic: Annotated[str, typer.Argument(help="A topic; default: all.")] = "",
    *,
    reason: ReasonOption = None,
    since: SinceOption = "",
    until: UntilOption = "",
    request: RequestOption = "",
    retriable: RetriableOption = False,
    as_json: JsonOption = False,
    bootstrap: BootstrapOption = "",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """List dead letters, the oldest first, and count them by topic and reason."""
    from services.cli.dlq.running import run_list  # noqa: PLC0415

    filters = Filters(
        topic=topic, reasons=reason, since=since, until=until, request=request, retriable=retriable
    )
    run_list(_desk(context, bootstrap, data), filters, as_json=as_json)


@app.command("show")
def show_letter(  # noqa: PLR0913  # one argument an option
    context: typer.Context,
    letter_id: Annotated[
        str, typer.Argument(metavar="ID", help="TOPIC-PARTITION-OFFSET of the original record.")
    ],
    *,
    text: Annotated[
        bool, typer.Option("--text", help="Show prompts and answers, too: somebody's own words.")
    ] = False,
    as_json: JsonOption = False,
    bootstrap: BootstrapOption = "",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Show a dead letter: where it came from, why, its record, how its requests ended."""
    from services.cli.dlq.running import run_show  # noqa: PLC0415

    run_show(_desk(context, bootstrap, data), letter_id, with_text=text, as_json=as_json)


@app.command("redrive")
def redrive_letters(  # noqa: PLR0913  # one argument an option
    context: typer.Context,
    ids: IdsArgument = None,
    *,
    topic: TopicOption = "",
    reason: ReasonOption = None,
    since: SinceOption = "",
    until: UntilOption = "",
    request: RequestOption = "",
    retriable: RetriableOption = False,
    again: Annotated[bool, typer.Option("--again", help="Also what was redriven before.")] = False,
    ended: Annotated[
        bool, typer.Option("--ended", help="Also what nobody waits for: its requests have ended.")
    ] = False,
    as_new_request: Annotated[
        bool,
        typer.Option("--as-new-request", help="Under a new id; for requests of Kafka producers."),
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    bootstrap: BootstrapOption = "",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Put dead letters back on their topics, as they were, in the same partitions.

    Exit code: 0 = done; 1 = one that was named was refused, or Kafka did not take it.
    """
    from services.cli.dlq.decide import Wish  # noqa: PLC0415
    from services.cli.dlq.running import run_redrive  # noqa: PLC0415

    filters = Filters(
        topic=topic,
        ids=ids,
        reasons=reason,
        since=since,
        until=until,
        request=request,
        retriable=retriable,
    )
    wish = Wish(again=again, ended=ended, as_new_request=as_new_request)
    manner = Manner(dry_run=dry_run, yes=yes, as_json=as_json)
    if not run_redrive(_desk(context, bootstrap, data), filters, wish, manner):
        raise typer.Exit(NOT_ALL_DONE)


@app.command("purge")
def purge_letters(  # noqa: PLR0913  # one argument an option
    context: typer.Context,
    ids: IdsArgument = None,
    *,
    topic: TopicOption = "",
    reason: ReasonOption = None,
    since: SinceOption = "",
    until: UntilOption = "",
    request: RequestOption = "",
    retriable: RetriableOption = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    bootstrap: BootstrapOption = "",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Delete dead letters for good, from the beginning of each partition up to one not meant.

    Exit code: 0 = all that is meant is gone; 1 = some lie behind one that is not meant, and stay.
    """
    from services.cli.dlq.running import run_purge  # noqa: PLC0415

    filters = Filters(
        topic=topic,
        ids=ids,
        reasons=reason,
        since=since,
        until=until,
        request=request,
        retriable=retriable,
    )
    manner = Manner(dry_run=dry_run, yes=yes, as_json=as_json)
    if not run_purge(_desk(context, bootstrap, data), filters, manner):
        raise typer.Exit(NOT_ALL_DONE)


def _desk(context: typer.Context, bootstrap: str, data: Path) -> "Desk":
    from services.cli.dlq.desk import Desk  # noqa: PLC0415
    from services.shared.adapters.system_clock import SystemClock  # noqa: PLC0415
    from services.shared.stream.dead_letter_log import DeadLetterLog  # noqa: PLC0415

    invocation = invocation_of(context)
    return Desk(
        log=DeadLetterLog(bootstrap_of(invocation, bootstrap=bootstrap, data=data)),
        console=invocation.console,
        errors=invocation.errors,
        now_ms=SystemClock().now_ms,
    )
