"""Which entries of the cache are meant."""

from collections.abc import Iterable, Mapping

import msgspec

from services.shared.domain.events import AnswerCached, Operation


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries are meant: those that fit all that is set.

    Attributes:
        ids: Entry ids, which are the ids of the requests that were answered; empty = any.
        scope: Beginning of the scope; empty = any.
        tenant: Whose; empty = anybody's.
        since_ms: Admitted at this time or later, unix ms.
        until_ms: Admitted before this time, unix ms.
        descendants: Also those whose request quotes the answer of one that is meant, and so on.
    """

    ids: frozenset[str] = frozenset()
    scope: str = ""
    tenant: str = ""
    since_ms: int | None = None
    until_ms: int | None = None
    descendants: bool = False

    def holds(self, entry: AnswerCached) -> bool:
        """Whether an entry is meant by itself."""
        scope = "" if entry.semantic is None else entry.semantic.scope
        return (
            (not self.ids or entry.entry_id in self.ids)
            and scope.startswith(self.scope)
            and self.tenant in ("", entry.tenant)
            and _is_between(entry.stored_at, self.since_ms, self.until_ms)
        )


class VectorSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Which vectors of single inputs are meant.

    Attributes:
        tenants: Whose; empty = anybody's.
        since_ms: Kept at this time or later, unix ms.
        until_ms: Kept before this time, unix ms.
    """

    tenants: frozenset[str] = frozenset()
    since_ms: int | None = None
    until_ms: int | None = None

    def holds(self, kept_at: int | None) -> bool:
        """Whether a vector kept then is meant; one that is damaged is."""
        return kept_at is None or _is_between(kept_at, self.since_ms, self.until_ms)


def _is_between(at_ms: int, since_ms: int | None, until_ms: int | None) -> bool:
    return (since_ms is None or at_ms >= since_ms) and (until_ms is None or at_ms < until_ms)


def selected_vectors(
    selection: Selection, chosen: Iterable[AnswerCached]
) -> VectorSelection | None:
    """The vectors that go with what is meant; None = none.

    Of a time and tenant they are those of that time and tenant. Which of them an embeddings answer
    was put together from is not known, so all of its tenant go with one that is named.

    Args:
        selection: Which entries are meant.
        chosen: The entries that it selected.
    """
    if not selection.ids and not selection.scope:
        tenants = frozenset({selection.tenant} - {""})
        return VectorSelection(
            tenants=tenants, since_ms=selection.since_ms, until_ms=selection.until_ms
        )
    tenants = frozenset(it.tenant for it in chosen if it.operation == Operation.EMBEDDINGS)
    return VectorSelection(tenants=tenants) if tenants else None


def selected(entries: Mapping[str, AnswerCached], selection: Selection) -> dict[str, str]:
    """The entries that are meant, by id, with the entry whose answer each quotes; empty = none.

    Args:
        entries: All there are, by id.
        selection: Which are meant.
    """
    chosen = {entry_id: "" for entry_id, entry in entries.items() if selection.holds(entry)}
    if not selection.descendants:
        return chosen
    quoting: dict[tuple[str, str], list[str]] = {}
    for entry_id, entry in entries.items():
        for quote in () if entry.semantic is None else entry.semantic.quotes:
            quoting.setdefault((entry.tenant, quote), []).append(entry_id)
    left = list(chosen)
    while left:
        ancestor = entries[left.pop()]
        if not ancestor.answer_hash:
            continue
        for entry_id in quoting.get((ancestor.tenant, ancestor.answer_hash), ()):
            if entry_id not in chosen:
                chosen[entry_id] = ancestor.entry_id
                left.append(entry_id)
    return chosen
