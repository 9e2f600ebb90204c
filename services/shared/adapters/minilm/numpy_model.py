"""The model in numpy, with its 32-bit weights: slower, but needs no ONNX Runtime."""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.shared.adapters.minilm.pinned import build_id
from services.shared.adapters.minilm.weights import read_weights
from services.shared.ports.encoder import Vectors

_LAYERS = 6
_HEADS = 12
_EPSILON = 1e-12

Floats = NDArray[np.float32]


class NumpyModel:
    """Runs texts of one length at a time; its weights stay on disk until they are used."""

    build = build_id("fp32")

    def __init__(self, weights_file: Path) -> None:
        """Map the weights; takes some 5 ms."""
        self._weights = read_weights(weights_file)

    def vectors(self, ids: NDArray[np.int64]) -> Vectors:
        """Unit vectors of texts.

        Args:
            ids: One text a row, all of one length.
        """
        hidden = self._embedded(ids)
        for layer in range(_LAYERS):
            hidden = self._layer(f"encoder.layer.{layer}.", hidden)
        mean = hidden.mean(axis=1)
        unit: Vectors = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return unit

    def _embedded(self, ids: NDArray[np.int64]) -> Floats:
        words = self._weights["embeddings.word_embeddings.weight"][ids]
        places = self._weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        kind = self._weights["embeddings.token_type_embeddings.weight"][0]
        return self._normalised(words + places + kind, "embeddings.LayerNorm.")

    def _layer(self, name: str, hidden: Floats) -> Floats:
        attended = self._attended(f"{name}attention.", hidden)
        inner = _gelu(self._dense(attended, f"{name}intermediate.dense."))
        outer = self._dense(inner, f"{name}output.dense.") + attended
        return self._normalised(outer, f"{name}output.LayerNorm.")

    def _attended(self, name: str, hidden: Floats) -> Floats:
        texts, tokens, width = hidden.shape

        def heads(part: str) -> Floats:
            dense = self._dense(hidden, f"{name}self.{part}.")
            return dense.reshape(texts, tokens, _HEADS, -1).transpose(0, 2, 1, 3)

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 1, 3, 2) / math.sqrt(width // _HEADS)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = (scores @ value).transpose(0, 2, 1, 3).reshape(texts, tokens, width)
        total = self._dense(mixed, f"{name}output.dense.") + hidden
        return self._normalised(total, f"{name}output.LayerNorm.")

    def _dense(self, hidden: Floats, name: str) -> Floats:
        rows = hidden.reshape(-1, hidden.shape[-1]) @ self._weights[f"{name}weight"].T
        dense: Floats = (rows + self._weights[f"{name}bias"]).reshape(*hidden.shape[:-1], -1)
        return dense

    def _normalised(self, hidden: Floats, name: str) -> Floats:
        centred = hidden - hidden.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(variance + np.float32(_EPSILON))
        normalised: Floats = scaled * self._weights[f"{name}weight"] + self._weights[f"{name}bias"]
        return normalised


def _gelu(values: Floats) -> Floats:
    """X Φ(x), with the error function of Abramowitz and Stegun, 7.1.26 (wrong by 1.5e-7 at most)."""
    z = np.abs(values) * np.float32(math.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = t * (
        0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))
    )
    error = np.copysign(1 - series * np.exp(-z * z), values)
    gelu: Floats = values * (1 + error) / 2
    return gelu.astype(np.float32, copy=False)
