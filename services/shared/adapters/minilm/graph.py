"""Builds the model's ONNX graph, with 8-bit weights, from its 32-bit weights.

The model is BERT (Devlin et al., 2018) with 6 layers, 12 heads and 384 dimensions; the mean over a
text's tokens, scaled to length 1, is its vector (Reimers and Gurevych, 2019).

Weights are quantised by output channel, once; activations as they come, each token by itself. ONNX
Runtime's own dynamic quantisation takes one scale for all tokens of all texts of a run: there, the
vector of a text would depend on what else is in its batch (cosine .97 to itself).
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from services.shared.adapters.minilm.pinned import DIMENSIONS
from services.shared.adapters.minilm.weights import Weights

_LAYERS = 6
_HEADS = 12
_HEAD_SIZE = DIMENSIONS // _HEADS
_EPSILON = 1e-12

_OPSET = 20
_IR_VERSION = 9
_LARGEST = 127.0
_ZERO_POINT = 128

Array = NDArray[np.float32] | NDArray[np.int64] | NDArray[np.int8] | NDArray[np.uint8]
Floats = NDArray[np.float32]


class _Builder:
    """A graph in the making; each method adds a part of the model and returns its output."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._largest = self._constant("largest", np.array(_LARGEST, np.float32))
        self._zero_point = self._constant("zero_point", np.array(_ZERO_POINT, np.uint8))
        self._shift = self._constant("shift", np.array(_ZERO_POINT, np.float32))
        self._last_axis = self._constant("last_axis", np.array([-1], np.int64))
        self._scale = self._constant("scale", np.array(_HEAD_SIZE**-0.5, np.float32))
        self._to_heads = self._constant("to_heads", np.array([0, 0, _HEADS, _HEAD_SIZE], np.int64))
        self._from_heads = self._constant("from_heads", np.array([0, 0, DIMENSIONS], np.int64))

    def model(self) -> onnx.ModelProto:
        hidden = self._embedded()
        for layer in range(_LAYERS):
            hidden = self._layer(f"encoder.layer.{layer}.", hidden)
        tokens_axis = self._constant("tokens_axis", np.array([1], np.int64))
        mean = self._add("ReduceMean", hidden, tokens_axis, keepdims=0)
        self._add("LpNormalization", mean, name="vectors", axis=-1, p=2)
        ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["texts", "tokens"])
        vectors = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["texts", DIMENSIONS])
        graph = helper.make_graph(self._nodes, "minilm", [ids], [vectors], self._constants)
        opsets = [helper.make_opsetid("", _OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)

    def _embedded(self) -> str:
        add = self._add
        table, scales = _quantised(self._weights["embeddings.word_embeddings.weight"], axis=1)
        rows = add("Gather", self._constant("words", table), "input_ids")
        scale = add("Gather", self._constant("word_scales", scales), "input_ids")
        words = add("Mul", add("Cast", rows, to=TensorProto.FLOAT), scale)
        kind = self._weights["embeddings.token_type_embeddings.weight"][0]
        all_places = self._weights["embeddings.position_embeddings.weight"] + kind
        zero = self._constant("zero", np.array([0], np.int64))
        length = add("Shape", "input_ids", start=1, end=2)
        places = add("Slice", self._constant("places", all_places), zero, length, zero)
        return self._normalised(add("Add", words, places), "embeddings.LayerNorm.")

    def _layer(self, name: str, hidden: str) -> str:
        attended = self._attended(f"{name}attention.", hidden)
        inner = self._add("Gelu", self._dense(attended, f"{name}intermediate.dense."))
        outer = self._dense(inner, f"{name}output.dense.")
        return self._normalised(self._add("Add", outer, attended), f"{name}output.LayerNorm.")

    def _attended(self, name: str, hidden: str) -> str:
        add = self._add
        parts = [f"{name}self.{part}" for part in ("query", "key", "value")]
        joint = self._dense(hidden, *(f"{part}." for part in parts))
        self._nodes.append(helper.make_node("Split", [joint], parts, axis=-1, num_outputs=3))
        query, key, value = (add("Reshape", part, self._to_heads) for part in parts)
        query = add("Transpose", query, perm=(0, 2, 1, 3))
        key = add("Transpose", key, perm=(0, 2, 3, 1))
        value = add("Transpose", value, perm=(0, 2, 1, 3))
        shares = add("Softmax", add("Mul", add("MatMul", query, key), self._scale), axis=-1)
        mixed = add("Transpose", add("MatMul", shares, value), perm=(0, 2, 1, 3))
        dense = self._dense(add("Reshape", mixed, self._from_heads), f"{name}output.dense.")
        return self._normalised(add("Add", dense, hidden), f"{name}output.LayerNorm.")

    def _dense(self, hidden: str, *names: str) -> str:
        """One product in 8 bits for one or several dense layers of the same input."""
        add = self._add
        weight = np.concatenate([self._weights[f"{name}weight"] for name in names])
        bias = np.concatenate([self._weights[f"{name}bias"] for name in names])
        integers, scales = _quantised(weight, axis=1)
        largest = add("ReduceMax", add("Abs", hidden), self._last_axis)
        rounded = add("Round", add("Mul", hidden, add("Div", self._largest, largest)))
        shifted = add("Cast", add("Add", rounded, self._shift), to=TensorProto.UINT8)
        constant = self._constant(f"{names[0]}integers", integers.T)
        product = add("MatMulInteger", shifted, constant, self._zero_point)
        by_token = add("Mul", add("Cast", product, to=TensorProto.FLOAT), largest)
        by_channel = self._constant(f"{names[0]}scales", scales[:, 0] / np.float32(_LARGEST))
        scaled = add("Mul", by_token, by_channel)
        return add("Add", scaled, self._constant(f"{names[0]}bias", bias))

    def _normalised(self, hidden: str, name: str) -> str:
        weight, bias = (
            self._constant(f"{name}{part}", self._weights[f"{name}{part}"])
            for part in ("weight", "bias")
        )
        return self._add("LayerNormalization", hidden, weight, bias, axis=-1, epsilon=_EPSILON)

    def _constant(self, name: str, values: Array) -> str:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _add(
        self, kind: str, *inputs: str, name: str = "", **attributes: float | tuple[int, ...]
    ) -> str:
        output = name or f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output


def _quantised(values: Floats, *, axis: int) -> tuple[NDArray[np.int8], Floats]:
    """Integers -127..127 and the scale of each row, so that their product is close to the values."""
    scales = np.abs(values).max(axis=axis, keepdims=True) / np.float32(_LARGEST)
    return np.rint(values / scales).astype(np.int8), scales


def quantised_graph(weights: Weights) -> bytes:
    """The model as an ONNX file: ids of texts of one length in, a unit vector a text out."""
    model = _Builder(weights).model()
    onnx.checker.check_model(model)
    serialised: bytes = model.SerializeToString()
    return serialised
