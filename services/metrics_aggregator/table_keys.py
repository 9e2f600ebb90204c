"""Keys and values of the table: JSON arrays that people can read, and MessagePack.

Every key names its source partition, so a partition's part of the table is found by it and no two
partitions ever write the same key.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from services.shared.domain.usage_windows import Dimensions, Tally

_WINDOW: Final = "window"
_IDS: Final = "ids"
_POSITION: Final = "position"


class WindowId(NamedTuple):
    """One window and set of dimensions of a partition.

    Attributes:
        size_s: Length, seconds.
        start_ms: Start, unix ms.
        dimensions: Of which requests.
    """

    size_s: int
    start_ms: int
    dimensions: Dimensions


class Position(msgspec.Struct, array_like=True):
    """How far a partition was folded; whatever else its part of the table holds is older.

    Attributes:
        through_offset: Last record that was folded; -1 = none.
        watermark_ms: The partition's time, unix ms.
        first_offset: From where on ``ids`` were counted.
        ids: Hashes of the request ids counted last, ``ID_BYTES`` each.
    """

    through_offset: int = -1
    watermark_ms: int = 0
    first_offset: int = 0
    ids: bytes = b""


class CountedIds(msgspec.Struct, array_like=True):
    """Request ids that were counted, up to an offset; as in ``Position``."""

    through_offset: int
    ids: bytes


ID_BYTES: Final = 8

_encoder = msgspec.msgpack.Encoder()
_tally_decoder = msgspec.msgpack.Decoder(Tally)
_ids_decoder = msgspec.msgpack.Decoder(CountedIds)
_position_decoder = msgspec.msgpack.Decoder(Position)


class Entries(msgspec.Struct):
    """A partition's part of the table.

    Attributes:
        position: How far it was folded.
        ids: Sealed ids by the offset they begin at.
        windows: The tallies of open windows.
    """

    position: Position
    ids: dict[int, CountedIds]
    windows: dict[WindowId, Tally]


def window_key(partition: int, window: WindowId) -> bytes:
    """Key of a tally."""
    return msgspec.json.encode((_WINDOW, partition, *window))


def ids_key(partition: int, first_offset: int) -> bytes:
    """Key of sealed ids that begin at an offset."""
    return msgspec.json.encode((_IDS, partition, first_offset))


def position_key(partition: int) -> bytes:
    """Key of a partition's position."""
    return msgspec.json.encode((_POSITION, partition))


def partition_of(key: bytes) -> int:
    """The source partition that a key belongs to."""
    partition: int = msgspec.json.decode(key)[1]
    return partition


def value_from(value: Tally | CountedIds | Position) -> bytes:
    """Encode a value."""
    return _encoder.encode(value)


def read_entries(entries: Iterable[tuple[bytes, bytes]]) -> Entries:
    """Decode a partition's part of the table."""
    found = Entries(Position(), {}, {})
    for key, value in entries:
        match msgspec.json.decode(key):
            case ["window", _, size_s, start_ms, dimensions]:
                window = WindowId(size_s, start_ms, Dimensions(*dimensions))
                found.windows[window] = _tally_decoder.decode(value)
            case ["ids", _, first_offset]:
                found.ids[first_offset] = _ids_decoder.decode(value)
            case ["position", _]:
                found.position = _position_decoder.decode(value)
            case other:
                msg = f"the table holds a key that this version does not know: {other}"
                raise ValueError(msg)
    return found
