"""``millrace usage``: what was used and what it cost, from the ledger."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from services.cli.cluster import BootstrapOption, bootstrap_of
from services.cli.errors import CommandError
from services.cli.invocation import DEFAULT_DATA, DataOption, Invocation, invocation_of
from services.cli.manner import JsonOption

if TYPE_CHECKING:
    from services.shared.domain.events import UsageRecorded
    from services.shared.domain.ledger import Group, Totals
    from services.shared.stream.bulk import Read

_COLUMNS = (
    "tenant", "key", "model", "calls", "hits", "joins", "unknown", "tokens in", "tokens out", "USD",
    "reserved USD", "saved USD",
)  # fmt: skip
_NUMBERS = frozenset(_COLUMNS[3:])


class Ledger(Protocol):
    """Reads the ledger from its beginning to its end."""

    @property
    def total(self) -> int:
        """Records there are, holes included."""
        ...

    def batches(self, *, follow: bool) -> "Iterator[Sequence[Read]]":
        """Hand out the records."""
        ...


def usage(  # noqa: PLR0913  # the options of a command
    context: typer.Context,
    *,
    tenant: Annotated[str, typer.Option(help="Only of this tenant.")] = "",
    key: Annotated[str, typer.Option(help="Only of this virtual key's id.")] = "",
    model: Annotated[str, typer.Option(help="Only of this model alias.")] = "",
    since: Annotated[
        str, typer.Option(help="Only what ended since: 10m, 2h, 1d or an ISO 8601 time.")
    ] = "",
    as_json: JsonOption = False,
    bootstrap: BootstrapOption = "",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Add the ledger up by tenant, key and model: calls, hits, joins, tokens and money.

    Reads usage-ledger whole, with progress on standard error, as a later row may count instead of
    an earlier one. Calls whose end nobody knows are counted apart, with what they may have cost.
    """
    from services.cli.times import time_ms  # noqa: PLC0415
    from services.shared.adapters.system_clock import SystemClock  # noqa: PLC0415
    from services.shared.domain.topics import Topic  # noqa: PLC0415
    from services.shared.stream.bulk import BulkReader, Position  # noqa: PLC0415

    invocation = invocation_of(context)
    since_ms = time_ms("--since", since, now_ms=SystemClock().now_ms()) or 0
    brokers = bootstrap_of(invocation, bootstrap=bootstrap, data=data)
    reader = BulkReader(brokers, Topic.USAGE_LEDGER, position=Position())
    try:
        added = add_up(
            read_rows(reader, invocation, tenant=tenant),
            key=key,
            model=model,
            since_ms=since_ms,
        )
    finally:
        reader.close()
    report(invocation, added, as_json=as_json)


def read_rows(reader: Ledger, invocation: Invocation, *, tenant: str) -> "Iterator[UsageRecorded]":
    """The rows of the ledger, of one tenant or of all.

    Raises:
        CommandError: One cannot be read: sums without it would be wrong.
    """
    from rich.progress import Progress  # noqa: PLC0415

    from services.shared.codec.records import decode_record  # noqa: PLC0415
    from services.shared.domain.errors import PoisonRecord  # noqa: PLC0415
    from services.shared.domain.events import UsageRecorded  # noqa: PLC0415

    console = invocation.errors
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("usage-ledger", total=reader.total or None)
        for records in reader.batches(follow=False):
            progress.advance(task, len(records))
            for record in records:
                if tenant and record.key != tenant.encode():
                    continue
                try:
                    yield decode_record(record.value or b"", UsageRecorded)
                except PoisonRecord as poison:
                    place = f"{record.topic}-{record.partition}-{record.offset}"
                    raise CommandError(
                        f"The row at {place} cannot be read ({poison}), so no sum would be true. "
                        "A newer release may have written it: use its command."
                    ) from poison


def add_up(
    rows: "Iterator[UsageRecorded]", *, key: str, model: str, since_ms: int
) -> "dict[Group, Totals]":
    """Fold rows and add them up by tenant, key and model."""
    from services.shared.domain.ledger import fold, totals  # noqa: PLC0415

    meant = (
        row
        for row in fold(rows).values()
        if (not key or row.key_id == key)
        and (not model or row.model == model)
        and row.at >= since_ms
    )
    return totals(meant, group_of=lambda row: (row.tenant, row.key_id, row.model))


def report(invocation: Invocation, added: "dict[Group, Totals]", *, as_json: bool) -> None:
    """Print sums."""
    from services.cli.tables import print_table, say  # noqa: PLC0415

    if as_json:
        typer.echo(_document(added))
    elif not added:
        say(invocation.console, "Nothing was used.")
    else:
        rows = [_row(group, totals) for group, totals in sorted(added.items())]
        print_table(invocation.console, _COLUMNS, rows, right=_NUMBERS)


def _row(group: "Group", totals: "Totals") -> tuple[str, ...]:
    counts = (
        totals.calls,
        totals.hits,
        totals.joins,
        totals.unknown,
        totals.input_tokens,
        totals.output_tokens,
    )
    money = (totals.cost_nanousd, totals.reserved_nanousd, totals.saved_nanousd)
    return (*(name or "-" for name in group), *map(str, counts), *map(_usd, money))


def _document(added: "dict[Group, Totals]") -> str:
    import msgspec  # noqa: PLC0415

    usage: list[dict[str, Any]] = []
    for (tenant, key, model), totals in sorted(added.items()):
        built = msgspec.to_builtins(totals)
        money = {
            name.replace("nanousd", "usd"): _usd(built.pop(name))
            for name in ("cost_nanousd", "reserved_nanousd", "saved_nanousd")
        }
        usage.append({"tenant": tenant, "key": key, "model": model, **built, **money})
    return msgspec.json.format(msgspec.json.encode({"usage": usage}), indent=2).decode()


def _usd(nanousd: int) -> str:
    """Dollars, exactly; as text also for programs, which must not make a float of them."""
    from services.shared.domain.money import usd_from_nanousd  # noqa: PLC0415

    return f"{usd_from_nanousd(nanousd):f}"
