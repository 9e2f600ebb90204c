"""``millrace cache explain|purge|report|rollback``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.cluster import (
    BootstrapOption,
    bootstrap_of,
    configuration_of,
    running_stack,
)
from services.cli.errors import CommandError
from services.cli.invocation import DEFAULT_DATA, DataOption, Invocation, invocation_of
from services.cli.manner import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    Manner,
    YesOption,
    print_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.cli.cache.desk import Desk

NOT_ALL_DONE = 1

RedisOption = Annotated[
    str,
    typer.Option(
        "--redis",
        envvar="MILLRACE_REDIS_URL",
        help="Redis that holds the answers; default: the local stack's.",
        metavar="URL",
    ),
]

app = typer.Typer(no_args_is_help=True, help="Look into the cache: explain, purge, roll back.")


@app.command("explain")
def explain_question(  # noqa: PLR0913  # one argument an option
    context: typer.Context,
    asked: Annotated[
        str, typer.Argument(metavar="REQUEST|TEXT", help="A request id, or a question.")
    ],
    *,
    tenant: Annotated[str, typer.Option("--tenant", help="Who asks; for a text.")] = "",
    model: Annotated[str, typer.Option("--model", help="Alias that is asked; for a text.")] = "",
    system: Annotated[str, typer.Option("--system", help="System prompt; for a text.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
    bootstrap: BootstrapOption = "",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Say which entries are near a question, what guards object to, and what is served, and why.

    Shows questions of the tenant, so mind who looks on. Changes nothing.
    """
    from services.cli.cache import explaining, report  # noqa: PLC0415
    from services.cli.trace import find_terminal  # noqa: PLC0415
    from services.shared.adapters.minilm.encoder import load_encoder  # noqa: PLC0415
    from services.shared.adapters.minilm.pinned import encoder_folder  # noqa: PLC0415
    from services.shared.adapters.system_clock import SystemClock  # noqa: PLC0415
    from services.shared.domain.configuration_semantic import SemanticMode  # noqa: PLC0415
    from services.shared.domain.semantic_modes import SemanticModes  # noqa: PLC0415
    from services.shared.stream.entry_bulk import EntryLog  # noqa: PLC0415

    invocation = invocation_of(context)
    brokers = bootstrap_of(invocation, bootstrap=bootstrap, data=data)
    finished = None if tenant or model else find_terminal(brokers, asked)
    if finished is None and not (tenant and model):
        raise CommandError(
            f"No terminal record of '{asked[:64]}' was found. For a text, say --tenant and --model."
        )
    encoder = load_encoder(encoder_folder(invocation.environ))
    question = (
        explaining.asked_of_text(
            asked, tenant=tenant, model=model, system=system, encoder=encoder.build
        )
        if finished is None
        else explaining.asked_of_request(finished)
    )
    now_ms = SystemClock().now_ms()
    configuration = configuration_of(invocation, config, data=data)
    controller = None
    if SemanticModes(configuration).of(question.model) is SemanticMode.VERIFIED:
        most_wrong = configuration.cache.semantic.most_wrong
        controllers = report.controllers_at(
            brokers, most_wrong=most_wrong, unreadable=_lost(invocation)
        )
        controller = controllers.of(question.tenant)
    explained = explaining.explain_now(
        question,
        {entry_id: it.entry for entry_id, it in EntryLog(brokers).held().items()},
        configuration=configuration,
        encoder=encoder,
        controller=controller,
        now_ms=now_ms,
    )
    if as_json:
        print_json(explaining.document(explained))
    else:
        explaining.print_explanation(invocation.console, explained, now_ms=now_ms)


@app.command("purge")
def purge_entries(  # noqa: PLR0913  # one argument an option
    context: typer.Context,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="ID", help="Entries: ids of the requests that were answered."),
    ] = None,
    *,
    scope: Annotated[str, typer.Option("--scope", help="Those of a scope that begins so.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="Those of this tenant.")] = "",
    since: Annotated[
        str, typer.Option("--since", help="Those admitted since: 10m, 2h, 1d or an ISO 8601 time.")
    ] = "",
    until: Annotated[str, typer.Option("--until", help="Those admitted before; as --since.")] = "",
    descendants: Annotated[
        bool,
        typer.Option(
            "--descendants", help="Also those whose request quotes a purged answer, and so on."
        ),
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    redis: RedisOption = "",
    bootstrap: BootstrapOption = "",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Purge entries that fit all that is said: their answers from Redis, then a tombstone each.

    Exit code: 0 = done; 1 = an ID that was named is no entry.
    """
    from services.cli.cache.decide import Selection  # noqa: PLC0415
    from services.cli.cache.purging import run_purge  # noqa: PLC0415
    from services.cli.times import time_ms  # noqa: PLC0415

    desk = _desk(context, redis, bootstrap, data)
    selection = Selection(
        ids=frozenset(ids or ()),
        scope=scope,
        tenant=tenant,
        since_ms=time_ms("--since", since, now_ms=desk.now_ms()),
        until_ms=time_ms("--until", until, now_ms=desk.now_ms()),
        descendants=descendants,
    )
    if not run_purge(desk, selection, Manner(dry_run=dry_run, yes=yes, as_json=as_json)):
        raise typer.Exit(NOT_ALL_DONE)


@app.command("rollback")
def roll_back(  # noqa: PLR0913  # one argument an option
    context: typer.Context,
    *,
    to: Annotated[
        str, typer.Option("--to", help="10m, 2h, 1d (ago) or an ISO 8601 time.", metavar="TIME")
    ],
    tenant: Annotated[str, typer.Option("--tenant", help="Only this tenant's.")] = "",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
    redis: RedisOption = "",
    bootstrap: BootstrapOption = "",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Purge all entries that were admitted at a time or later: the cache is as it was before.

    What an entry replaced does not come back: that question is asked again.
    """
    from services.cli.cache.decide import Selection  # noqa: PLC0415
    from services.cli.cache.purging import run_purge  # noqa: PLC0415
    from services.cli.times import time_ms  # noqa: PLC0415

    desk = _desk(context, redis, bootstrap, data)
    since_ms = time_ms("--to", to, now_ms=desk.now_ms())
    if since_ms is None:
        raise CommandError("--to is empty: write an age such as 2h, or a time.")
    selection = Selection(tenant=tenant, since_ms=since_ms)
    run_purge(desk, selection, Manner(dry_run=dry_run, yes=yes, as_json=as_json))


@app.command("report")
def report_tenants(  # noqa: PLR0913  # one argument an option
    context: typer.Context,
    *,
    tenant: Annotated[str, typer.Option("--tenant", help="Only of this tenant.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
    bootstrap: BootstrapOption = "",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Say, tenant by tenant, what the verified mode serves, and how sure that is.

    Reads cache-judgements whole. The bounds are one-sided, with 95 % confidence.
    """
    from services.cli.cache import report  # noqa: PLC0415

    invocation = invocation_of(context)
    most_wrong = configuration_of(invocation, config, data=data).cache.semantic.most_wrong
    brokers = bootstrap_of(invocation, bootstrap=bootstrap, data=data)
    controllers = report.controllers_at(
        brokers, most_wrong=most_wrong, unreadable=_lost(invocation)
    )
    reports = report.reports_of(controllers, tenant=tenant)
    if as_json:
        print_json(report.report_document(reports, most_wrong=most_wrong))
    else:
        report.print_report(invocation.console, reports, most_wrong=most_wrong)


def _lost(invocation: Invocation) -> "Callable[[int], None]":
    """Says how many judgements could not be read."""
    from services.cli.tables import say  # noqa: PLC0415

    return lambda count: say(
        invocation.errors, f"{count} records cannot be read; the look-ups skip them too."
    )


def _desk(context: typer.Context, redis: str, bootstrap: str, data: Path) -> "Desk":
    from services.cli.cache.bodies import bodies_at  # noqa: PLC0415
    from services.cli.cache.desk import Desk  # noqa: PLC0415
    from services.shared.adapters.system_clock import SystemClock  # noqa: PLC0415
    from services.shared.stream.entry_bulk import EntryLog  # noqa: PLC0415

    invocation = invocation_of(context)
    return Desk(
        log=EntryLog(bootstrap_of(invocation, bootstrap=bootstrap, data=data)),
        bodies=bodies_at(_redis_of(invocation, redis=redis, data=data)),
        console=invocation.console,
        errors=invocation.errors,
        now_ms=SystemClock().now_ms,
    )


def _redis_of(invocation: Invocation, *, redis: str, data: Path) -> str:
    if redis:
        return redis
    stack = running_stack(invocation, data=data)
    if stack is None or "redis" not in stack.addresses:
        raise CommandError(
            f"No stack runs on {invocation.path(data)}: name the Redis that holds the answers with "
            "--redis."
        )
    return stack.addresses["redis"]
