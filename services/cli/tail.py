"""``millrace tail``: records of a topic, decoded."""

import sys
from typing import Annotated, Any

import typer

from services.cli.cluster import BootstrapOption, bootstrap_of
from services.cli.conditions import condition
from services.cli.errors import CommandError
from services.cli.invocation import DEFAULT_DATA, DataOption, invocation_of
from services.cli.times import time_ms

_SHORT_BYTES = 200


def tail(  # noqa: PLR0913  # the options of a command
    context: typer.Context,
    topic: Annotated[str, typer.Argument(help="Name of a topic.")],
    *,
    since: Annotated[
        str, typer.Option(help="Begin so long ago, e.g. 90s, 10m, 2h, 1d, or at a time.")
    ] = "",
    offset: Annotated[
        int | None, typer.Option(help="Begin at this offset; negative = before the end.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", "-f", help="Go on with what comes.")
    ] = True,
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only records whose FIELD=TEXT, e.g. outcome=failed; dots go deeper."),
    ] = None,
    limit: Annotated[int, typer.Option(help="Stop after so many; 0 = never.", min=0)] = 0,
    bodies: Annotated[bool, typer.Option(help="Show whole bodies and answers.")] = False,
    bootstrap: BootstrapOption = "",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Print a topic's records, one JSON object a line. Without a beginning: what comes from now on.

    Progress is on standard error while older records are read.
    """
    from rich.progress import Progress  # noqa: PLC0415

    from services.shared.adapters.system_clock import SystemClock  # noqa: PLC0415
    from services.shared.stream.bulk import BulkReader, Position  # noqa: PLC0415

    invocation = invocation_of(context)
    if since and offset is not None:
        raise CommandError("--since and --offset both say where to begin: leave one out.")
    position = Position(
        offset=offset,
        since_ms=time_ms("--since", since, now_ms=SystemClock().now_ms()),
        at_end=offset is None and not since and follow,
    )
    conditions = [condition(text, topic) for text in where or []]
    reader = BulkReader(
        bootstrap_of(invocation, bootstrap=bootstrap, data=data), topic, position=position
    )
    shown = 0
    try:
        with Progress(console=invocation.errors, transient=True) as progress:
            task = progress.add_task(topic, total=reader.total or None)
            for records in reader.batches(follow=follow):
                progress.advance(task, len(records))
                for record in records:
                    document = described(record, whole=bodies)
                    if all(it.holds(document) for it in conditions):
                        sys.stdout.write(_json(document))
                        shown += 1
                        if shown == limit:
                            return
                sys.stdout.flush()
    except KeyboardInterrupt:
        return
    finally:
        reader.close()


def described(record: Any, *, whole: bool) -> dict[str, Any]:
    """A record as JSON values: where it is, its headers, and its decoded value."""
    import msgspec  # noqa: PLC0415

    from services.shared.codec import avro  # noqa: PLC0415
    from services.shared.domain.errors import PoisonRecord  # noqa: PLC0415

    document: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp_ms,
        "key": None if record.key is None else record.key.decode(errors="replace"),
        "headers": {name: _header(value) for name, value in record.headers},
    }
    if record.value is None:
        return document | {"value": None}
    try:
        name, _version, value = avro.decode(record.value)
    except PoisonRecord as poison:
        return document | {"undecodable": poison.reason, "bytes": len(record.value)}
    return document | {
        "record": name,
        "value": _readable(msgspec.to_builtins(value, builtin_types=(bytes,)), whole=whole),
    }


def _header(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def _readable(value: Any, *, whole: bool) -> Any:
    import msgspec  # noqa: PLC0415

    if isinstance(value, dict):
        return {name: _readable(item, whole=whole) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_readable(item, whole=whole) for item in value]
    if not isinstance(value, bytes):
        return value
    if not whole and len(value) > _SHORT_BYTES:
        return f"<{len(value)} bytes; --bodies shows them>"
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value.decode(errors="replace")


def _json(document: dict[str, Any]) -> str:
    import msgspec  # noqa: PLC0415

    return msgspec.json.encode(document).decode() + "\n"
