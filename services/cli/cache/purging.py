"""Purging entries: their bodies first, so that nothing is served any more, then tombstones."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import islice

import msgspec

from services.cli.cache.decide import Selection, VectorSelection, selected, selected_vectors
from services.cli.cache.desk import Bodies, Desk
from services.cli.cache.reporting import print_purge, purge_document, question_of
from services.cli.errors import CommandError
from services.cli.manner import Manner, ask, print_json
from services.shared.codec.records import decode_record
from services.shared.domain.errors import PoisonRecord
from services.shared.domain.events import CacheEntry
from services.shared.domain.kept_vectors import HEAD, PREFIX, kept_at, prefix_of
from services.shared.ports.response_cache import ResponseCache
from services.shared.stream.entry_bulk import Held

_TOGETHER = 500


class Purge(msgspec.Struct, frozen=True, kw_only=True):
    """What is purged.

    Attributes:
        held: The entries.
        quoted: The entry whose answer each quotes, by id; empty = it is meant by itself.
        doomed: Fingerprints whose bodies are deleted.
        vectors: Keys of vectors of single inputs that are deleted.
        unknown: Ids that were named and are no entries.
    """

    held: Sequence[Held]
    quoted: Mapping[str, str]
    doomed: Sequence[str]
    vectors: Sequence[str]
    unknown: Sequence[str]


def run_purge(desk: Desk, selection: Selection, manner: Manner) -> bool:
    """Purge what is meant; whether all that was named was there.

    Raises:
        CommandError: Nothing says what is meant.
        Unavailable: Redis or Kafka did not do it. Nothing that was purged is served again; to
            purge once more does the rest.
    """
    if selection in (Selection(), Selection(descendants=True)):
        raise CommandError(
            "Say which: by ID, --scope, --tenant, --since or --until. 'millrace cache explain ID' "
            "says which entry answered a request."
        )
    planned = asyncio.run(plan_purge(desk, selection))
    if not manner.dry_run and (planned.held or planned.vectors):
        ask(question_of(planned), yes=manner.yes)
        asyncio.run(purge(desk, planned))
    if manner.as_json:
        print_json(purge_document(planned, dry_run=manner.dry_run))
    else:
        print_purge(desk.console, planned, dry_run=manner.dry_run, now_ms=desk.now_ms())
    return not planned.unknown


async def plan_purge(desk: Desk, selection: Selection) -> Purge:
    """Find out what is meant, and which bodies are its own.

    Raises:
        Unavailable: Redis or Kafka does not answer.
    """
    held = desk.log.held()
    entries = {entry_id: it.entry for entry_id, it in held.items()}
    quoted = selected(entries, selection)
    chosen = [held[entry_id] for entry_id in quoted]
    fingerprints = sorted({it.entry.fingerprint for it in chosen})
    async with desk.bodies() as cache:
        bodies = await _bodies(cache, fingerprints)
        vectors = await _vectors(cache, selected_vectors(selection, (it.entry for it in chosen)))
    return Purge(
        held=chosen,
        quoted=quoted,
        # A body may be a newer answer to the same question, whose own entry is not meant.
        doomed=[name for name, owner in bodies.items() if owner in quoted or not owner],
        vectors=vectors,
        unknown=sorted(selection.ids - set(held)),
    )


async def purge(desk: Desk, planned: Purge) -> None:
    """Do it: bodies first, so that a look-up that has not seen a tombstone yet serves nothing.

    Raises:
        Unavailable: Redis or Kafka did not do it.
    """
    async with desk.bodies() as cache:
        for names in _batches([*planned.doomed, *planned.vectors]):
            await cache.delete(names)
    desk.log.bury(planned.held)


async def _bodies(cache: ResponseCache, fingerprints: Sequence[str]) -> Bodies:
    bodies: dict[str, str] = {}
    for names in _batches(fingerprints):
        for name, value in zip(names, await cache.read(names), strict=True):
            if value is not None:
                bodies[name] = _owner(value)
    return bodies


async def _vectors(cache: ResponseCache, meant: VectorSelection | None) -> list[str]:
    if meant is None:
        return []
    keys: list[str] = []
    for prefix in [prefix_of(tenant) for tenant in sorted(meant.tenants)] or [PREFIX]:
        found = await cache.beginnings(prefix, size_bytes=HEAD.size)
        keys += [key for key, head in found.items() if meant.holds(kept_at(head))]
    return keys


def _batches(names: Sequence[str]) -> list[list[str]]:
    left = iter(names)
    batches = []
    while batch := list(islice(left, _TOGETHER)):
        batches.append(batch)
    return batches


def _owner(value: bytes) -> str:
    """The request whose answer a body is; empty when it cannot be read."""
    try:
        return decode_record(value, CacheEntry).request_id
    except PoisonRecord:
        return ""
