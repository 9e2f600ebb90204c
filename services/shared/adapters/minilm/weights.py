"""Reads the model's weights from a safetensors file, mapped into memory and not copied."""

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Weights = dict[str, "NDArray[np.float32]"]

_LENGTH_BYTES = 8


def read_weights(file: Path) -> Weights:
    """The float tensors of a file, by name, read-only.

    The layout: length of the header (little-endian, 8 bytes), the header as JSON, the tensors.
    """
    import numpy as np  # noqa: PLC0415  only processes that encode pay for it

    with file.open("rb") as opened:
        (header_bytes,) = struct.unpack("<Q", opened.read(_LENGTH_BYTES))
        header = json.loads(opened.read(header_bytes))
    start = _LENGTH_BYTES + header_bytes
    content = np.memmap(file, dtype=np.uint8, mode="r")
    weights: Weights = {}
    for name, entry in header.items():
        if entry.get("dtype") == "F32":
            begin, end = (start + offset for offset in entry["data_offsets"])
            weights[name] = content[begin:end].view("<f4").reshape(entry["shape"])
    return weights
