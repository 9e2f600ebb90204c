"""Writing weights files."""

import msgspec

from services.shared.domain.complexity.classifier import Weights


def weights_file(weights: Weights) -> bytes:
    """The bytes of a weights file; equal weights give equal bytes."""
    return msgspec.json.encode(weights, order="sorted") + b"\n"
