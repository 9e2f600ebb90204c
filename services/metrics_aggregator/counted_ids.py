"""The request ids that a partition counted lately: a request ends once, its record may come twice.

Ids are remembered as hashes of 64 bits, in blocks: the newest block grows with the partition's
position, a full one is sealed and written once. So the memory of a partition is exactly what it
was when the position was written, whatever happened since.
"""

import hashlib
import struct
from collections import deque
from collections.abc import Mapping
from typing import Final

from services.metrics_aggregator.table_keys import ID_BYTES, CountedIds

BLOCK_IDS: Final = 1_024


def id_hash(request_id: str) -> int:
    """64 bits that tell request ids apart; the same in every process."""
    digest = hashlib.blake2b(request_id.encode(), digest_size=ID_BYTES).digest()
    return int.from_bytes(digest, "little")


class CountedMemory:
    """Ids counted lately, bounded.

    Attributes:
        first_offset: Offset at which the newest block began.
    """

    def __init__(
        self,
        *,
        sealed: Mapping[int, CountedIds],
        newest: bytes,
        first_offset: int,
        capacity: int,
    ) -> None:
        """Remember what was remembered.

        Args:
            sealed: Sealed blocks by the offset they begin at.
            newest: The block that still grows.
            first_offset: Offset at which it began.
            capacity: Ids remembered beside those of the newest block.
        """
        self.first_offset = first_offset
        self._capacity = capacity
        self._newest = bytearray(newest)
        self._sealed = deque((first, sealed[first].ids) for first in sorted(sealed))
        self._hashes = set(_hashes(newest))
        for _, ids in self._sealed:
            self._hashes.update(_hashes(ids))

    def __contains__(self, hashed: int) -> bool:
        return hashed in self._hashes

    def add(self, hashed: int) -> None:
        """Remember an id."""
        self._hashes.add(hashed)
        self._newest += hashed.to_bytes(ID_BYTES, "little")

    @property
    def newest(self) -> bytes:
        """The block that still grows."""
        return bytes(self._newest)

    def seal(self, *, through_offset: int) -> tuple[int, CountedIds] | None:
        """Seal the newest block if it is full; returns where it began, and the block."""
        if len(self._newest) < BLOCK_IDS * ID_BYTES:
            return None
        block = CountedIds(through_offset, bytes(self._newest))
        first_offset, self.first_offset = self.first_offset, through_offset + 1
        self._sealed.append((first_offset, block.ids))
        self._newest.clear()
        return first_offset, block

    def forget(self) -> list[int]:
        """Forget the oldest blocks beyond the capacity; returns where each began."""
        forgotten = []
        while sum(len(ids) for _, ids in self._sealed) > self._capacity * ID_BYTES:
            first_offset, ids = self._sealed.popleft()
            self._hashes.difference_update(_hashes(ids))
            forgotten.append(first_offset)
        return forgotten


def _hashes(ids: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(ids) // ID_BYTES}Q", ids)
