"""What was purged, for people and for programs."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.console import Console

from services.cli.tables import age, print_table, say

if TYPE_CHECKING:
    from services.cli.cache.purging import Purge

_MOST_LISTED = 20


def question_of(purge: "Purge") -> str:
    """What is asked before it is done."""
    vectors = f", {len(purge.vectors)} vectors of single inputs deleted" if purge.vectors else ""
    return f"{len(purge.held)} entries will be purged{vectors}. Go on?"


def print_purge(console: Console, purge: "Purge", *, dry_run: bool, now_ms: float) -> None:
    """The entries, or where they are many how many there are, and what became of them."""
    for entry_id in purge.unknown:
        say(console, f"{entry_id}: no entry. It was not kept, has expired, or was purged before.")
    entries = [it.entry for it in purge.held]
    if len(entries) <= _MOST_LISTED:
        rows = [
            (
                entry.entry_id,
                entry.tenant,
                entry.model,
                age((now_ms - entry.stored_at) / 1000),
                f"quotes {purge.quoted[entry.entry_id]}"
                if purge.quoted[entry.entry_id]
                else "is meant",
            )
            for entry in entries
        ]
        if rows:
            print_table(console, ("entry", "tenant", "model", "age", "why"), rows)
    else:
        counts = Counter((entry.tenant, entry.model) for entry in entries)
        print_table(
            console,
            ("tenant", "model", "entries"),
            [(*kind, str(count)) for kind, count in sorted(counts.items())],
            right=frozenset({"entries"}),
        )
    verb = "would be purged" if dry_run else "purged"
    answers = "answer" if len(purge.doomed) == 1 else "answers"
    entry_word = "entry" if len(entries) == 1 else "entries"
    deleted = "would be deleted" if dry_run else "deleted"
    say(
        console,
        f"{len(entries)} {entry_word} {verb}; {len(purge.doomed)} {answers} {deleted} from Redis.",
    )
    if purge.vectors:
        vectors = "vector" if len(purge.vectors) == 1 else "vectors"
        say(console, f"{len(purge.vectors)} {vectors} of single inputs {deleted} from Redis.")


def purge_document(purge: "Purge", *, dry_run: bool) -> dict[str, Any]:
    """The same for programs."""
    return {
        "dry_run": dry_run,
        "unknown": list(purge.unknown),
        "answers_deleted": len(purge.doomed),
        "vectors_deleted": len(purge.vectors),
        "entries": [
            {
                "id": it.entry.entry_id,
                "tenant": it.entry.tenant,
                "model": it.entry.model,
                "operation": it.entry.operation,
                "scope": it.entry.semantic.scope if it.entry.semantic else None,
                "stored_at_ms": it.entry.stored_at,
                "quotes": purge.quoted[it.entry.entry_id] or None,
            }
            for it in purge.held
        ],
    }
