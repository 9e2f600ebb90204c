"""The graph that is built from the weights."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from services.shared.adapters.minilm.graph import _quantised
from services.shared.adapters.minilm.pinned import GRAPH, RECIPE

GRAPH_OF_RECIPE = {1: "f5382d2e0ef5aab5"}
"""Digest by number; old ones stay, so that no number is used twice."""


def test_another_graph_is_another_recipe(encoder_files: Path) -> None:
    """Vectors of two graphs are never compared: who changes the graph raises ``RECIPE``."""
    graph = onnx.load(str(encoder_files / GRAPH)).graph
    digest = hashlib.sha256()
    for node in graph.node:
        attributes = [one.SerializeToString(deterministic=True) for one in node.attribute]
        digest.update(repr((node.op_type, node.input, node.output, attributes)).encode())
    for constant in graph.initializer:
        values = numpy_helper.to_array(constant)
        digest.update(f"{constant.name} {values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    assert digest.hexdigest()[:16] == GRAPH_OF_RECIPE[RECIPE]


def test_quantised_rows_are_close_to_their_values() -> None:
    """Each is off by half a step of its own row at most."""
    values = np.random.default_rng(1).normal(size=(20, 384)).astype(np.float32)
    values *= np.arange(1, 21, dtype=np.float32)[:, np.newaxis]
    integers, scales = _quantised(values, axis=1)
    assert integers.min() >= -127
    assert np.all(np.abs(integers * scales - values) <= scales * 0.5001)
