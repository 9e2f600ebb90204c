"""Where questions are found that mean the same."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from services.shared.domain.events import AnswerCached, SemanticKey


class Near(msgspec.Struct, frozen=True):
    """An entry that came close.

    Attributes:
        entry: The entry; its scope is that of the query. Its vector may be left out.
        similarity: Cosine of both vectors, -1..1.
    """

    entry: AnswerCached
    similarity: float


class SemanticIndex(Protocol):
    """Entries that have a ``SemanticKey``, by scope and vector; the scope is a hard filter."""

    async def put(self, entries: Sequence[AnswerCached]) -> None:
        """Add entries; one of the same ``entry_id``, or scope and fingerprint, is replaced.

        What has no ``SemanticKey`` is passed over. A scope has a largest number of entries, beyond
        which the oldest go.

        Raises:
            Unavailable: The index does not answer in time.
        """
        ...

    async def remove(self, entry_ids: Sequence[str]) -> None:
        """Remove entries; unknown ones are none.

        Raises:
            Unavailable: The index does not answer in time.
        """
        ...

    async def nearest(
        self, keys: Sequence[SemanticKey], *, most: int, now_ms: float
    ) -> Sequence[Sequence[Near]]:
        """The closest unexpired entries of each key's own scope, the closest first.

        Raises:
            Unavailable: The index does not answer in time. The caller treats it as a miss.
        """
        ...
