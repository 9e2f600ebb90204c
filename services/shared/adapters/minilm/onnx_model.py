"""The model with 8-bit weights on ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from services.shared.adapters.minilm.pinned import build_id
from services.shared.ports.encoder import Vectors


class OnnxModel:
    """Runs texts of one length at a time, in one thread: several processes share a machine."""

    build = build_id("int8")

    def __init__(self, graph_file: Path) -> None:
        """Load the graph; takes some 0.1 s."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(graph_file), options, providers=["CPUExecutionProvider"]
        )

    def vectors(self, ids: NDArray[np.int64]) -> Vectors:
        """Unit vectors of texts.

        Args:
            ids: One text a row, all of one length.
        """
        (vectors,) = self._session.run(None, {"input_ids": ids})
        return np.asarray(vectors, dtype=np.float32)
