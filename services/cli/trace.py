"""``millrace trace``: the journey of one request, from the topics alone."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from services.cli.cluster import BootstrapOption, bootstrap_of
from services.cli.errors import CommandError
from services.cli.invocation import DEFAULT_DATA, DataOption, invocation_of

_CLOCK_SKEW_MS = 10_000


def trace(
    context: typer.Context,
    request_id: Annotated[str, typer.Argument(help="As in the answer's x-request-id.")],
    *,
    bootstrap: BootstrapOption = "",
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Show where a request was, how long it waited and how long each stage worked on it."""
    invocation = invocation_of(context)
    brokers = bootstrap_of(invocation, bootstrap=bootstrap, data=data)
    finished = find_terminal(brokers, request_id)
    if finished is None:
        raise CommandError(
            f"No terminal record of {request_id} was found: it is still under way, or unknown, or "
            "older than the topic keeps."
        )
    invocation.console.print(journey_table(finished))
    invocation.console.print(summary(finished), highlight=False, markup=False, soft_wrap=True)


def find_terminal(bootstrap: str, request_id: str) -> Any:
    """The first terminal record of a request, or None."""
    from services.shared.codec.records import decode_record  # noqa: PLC0415
    from services.shared.domain.errors import PoisonRecord  # noqa: PLC0415
    from services.shared.domain.events import InferenceFinished  # noqa: PLC0415
    from services.shared.domain.ids import origin_from_request_id  # noqa: PLC0415
    from services.shared.domain.topics import Topic  # noqa: PLC0415
    from services.shared.stream.bulk import BulkReader, Position  # noqa: PLC0415

    origin = origin_from_request_id(request_id)
    since_ms = None if origin is None else origin.accepted_at_ms - _CLOCK_SKEW_MS
    reader = BulkReader(bootstrap, Topic.INFERENCE_RESULTS, position=Position(since_ms=since_ms))
    try:
        for records in reader.batches(follow=False):
            for record in records:
                if record.key == request_id.encode() and record.value is not None:
                    try:
                        return decode_record(record.value, InferenceFinished)
                    except PoisonRecord:
                        continue
    finally:
        reader.close()
    return None


def journey_table(finished: Any) -> Any:
    """The hops of a request as a table."""
    from rich.table import Table  # noqa: PLC0415

    table = Table("hop", "read from", box=None)
    for heading in ("waited ms", "worked ms"):
        table.add_column(heading, justify="right")
    for row in rows(finished):
        table.add_row(*row)
    return table


def rows(finished: Any) -> Iterator[tuple[str, str, str, str]]:
    """A row for each hop: name, place, time waited in the topic, time worked."""
    left_at_ms = 0.0
    for hop in finished.hops:
        place = f"{hop.topic} {hop.partition}:{hop.offset}" if hop.topic else "-"
        yield (
            hop.service,
            place,
            f"{max(0.0, hop.received_ms - left_at_ms):.1f}",
            f"{hop.finished_ms - hop.received_ms:.1f}",
        )
        left_at_ms = hop.finished_ms
    for call in finished.calls:
        first_ms = call.first_chunk_ms - call.started_ms
        first = f", first output after {first_ms:.1f} ms" if call.first_chunk_ms >= 0 else ""
        outcome = call.error_code or "answered"
        yield (
            f"  call {call.attempt}",
            f"{call.provider}/{call.model}: {outcome}{first}",
            "",
            f"{call.finished_ms - call.started_ms:.1f}",
        )


def summary(finished: Any) -> str:
    """How the request ended, in a few lines."""
    from services.shared.domain.money import usd_from_nanousd  # noqa: PLC0415

    took_ms = finished.finished_at - finished.accepted_at
    lines = [
        f"{finished.outcome} after {took_ms} ms: {finished.operation} {finished.model}, "
        f"cache {finished.cache.outcome}, {finished.usage.input_tokens} tokens in, "
        f"{finished.usage.output_tokens} out, {usd_from_nanousd(finished.cost_nanousd):f} USD"
    ]
    if finished.route is not None:
        lines.append(f"routed by {finished.route.strategy}: {finished.route.reason}")
    if finished.batch_id:
        lines.append(f"in {finished.batch_id} with {finished.batch_size} requests")
    if finished.error is not None:
        lines.append(f"error {finished.error.code} ({finished.error.fault})")
    return "\n".join(lines)
