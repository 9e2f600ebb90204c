"""What became of a redrive or a purge, for people and for programs."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from services.cli.dlq.purging import Purge
from services.cli.dlq.redriving import Redriven
from services.cli.tables import say


def print_redrive(console: Console, done: Sequence[Redriven], *, dry_run: bool) -> None:
    """A line a dead letter, and how many were put back."""
    for it in done:
        say(console, _line(it, dry_run=dry_run))
    put_back = [it for it in done if not it.is_left]
    verb = "would be put back" if dry_run else "put back"
    say(console, f"{len(put_back)} {verb}, {len(done) - len(put_back)} left.")


def redrive_document(done: Sequence[Redriven], *, dry_run: bool) -> dict[str, Any]:
    """The same for programs."""
    results = [
        {
            "id": str(it.found.letter.origin),
            "is_left": it.is_left,
            "to": None if it.to is None else str(it.to),
            "request_id": it.request_id or None,
            "note": it.note,
            "is_refusal": it.is_refusal,
        }
        for it in done
    ]
    return {"dry_run": dry_run, "results": results}


def print_purge(console: Console, purges: Sequence[Purge], *, dry_run: bool) -> None:
    """A line a partition, and what could not be deleted."""
    if not purges:
        say(console, "No dead letter is meant.")
    verb = "would be deleted" if dry_run else "deleted"
    for planned in purges:
        for partition, cut in planned.cuts.items():
            if cut.purged:
                before = f"everything before offset {cut.before}"
                line = f"{cut.purged} dead letters {verb} ({before})"
                say(console, f"{planned.topic} partition {partition}: {line}")
            if cut.left:
                say(
                    console,
                    f"{planned.topic} partition {partition}: {cut.left} are meant but stay: a log "
                    "is only deleted from its beginning, and one that is not meant lies before "
                    "them. They go after 14 days, or with a filter that means that one, too.",
                )


def purge_document(purges: Sequence[Purge], *, dry_run: bool) -> dict[str, Any]:
    """The same for programs."""
    return {
        "dry_run": dry_run,
        "partitions": [
            {
                "topic": planned.topic,
                "partition": partition,
                "deleted": cut.purged,
                "before_offset": cut.before if cut.purged else None,
                "left": cut.left,
            }
            for planned in purges
            for partition, cut in planned.cuts.items()
        ],
    }


def _line(it: Redriven, *, dry_run: bool) -> str:
    origin = it.found.letter.origin
    if it.is_left:
        return f"{origin} left: {it.note}"
    to = "would be put back" if dry_run else f"put back to {it.to}"
    request = f" as {it.request_id}" if it.request_id else ""
    return f"{origin} {to}{request}" + (f": {it.note}" if it.note else "")
