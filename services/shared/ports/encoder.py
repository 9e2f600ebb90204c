"""What turns texts into vectors that lie close when the texts mean the same."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:  # 0.1 s and 25 MB that only who encodes pays
    import numpy as np
    from numpy.typing import NDArray

Vectors: TypeAlias = "NDArray[np.float32]"
"""One unit vector a row."""


class Encoder(Protocol):
    """A sentence encoder. Vectors of different builds are never compared."""

    @property
    def build(self) -> str:
        """Id of weights, graph and runtime path together, e.g. ``minilm-int8-1a2b3c4d``."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        ...

    def knows(self, text: str) -> bool:
        """Whether the encoder can tell this text from others: no unknown token, not cut off."""
        ...

    async def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts, in their order; together they cost less than one by one.

        Raises:
            Unavailable: It is overloaded or broken. The caller goes on without it.
        """
        ...
