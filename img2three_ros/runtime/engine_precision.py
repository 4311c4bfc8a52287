"""An ONNX network in half precision, for strongly typed engines: every tensor's type is written in the file itself.

As automatic mixed precision does it (Micikevicius et al., "Mixed Precision Training", ICLR 2018): convolutions and
matrix products in fp16; what only passes values on stays in fp16 where all that it is given is fp16; everything else
(sums of squares, softmax, norms, coordinates) in fp32. Inputs and outputs keep their types.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..structures import InputError
from .libraries import onnx_library

if TYPE_CHECKING:
    import onnx

HALF_VERSION = 1
"""Of this conversion; part of the key of an engine."""

_HALF = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm"})
_PASSING = frozenset({
    "Add", "AveragePool", "Clip", "Concat", "DepthToSpace", "Elu", "Expand", "Flatten", "Gather", "Gelu",
    "GlobalAveragePool", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Max", "MaxPool", "Min", "Mul", "Neg",
    "PRelu", "Pad", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "SpaceToDepth", "Split", "Squeeze", "Sub", "Tanh",
    "Tile", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
_FLOAT_INPUTS = {"Resize": frozenset({1, 2})}
"""Inputs that ONNX wants in fp32 whatever the data are."""

_LARGEST = 65504.0


def half_precision(path: Path, content: bytes | None = None) -> bytes:
    """The network of an ONNX file (static shapes, one graph, weights inside), computing in fp16; serialised. content:
    of the file, where it was read already.

    Raises InputError('backend') if the file cannot be read or has graphs inside graphs.
    """
    onnx = onnx_library()
    try:
        model = onnx.load(str(path)) if content is None else onnx.load_model_from_string(content)
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except Exception as error:  # protobuf, onnx and the file system raise their own
        raise InputError("backend", f"'{path}' cannot be converted to fp16: {error}") from error
    inner = [node.name for node in model.graph.node for attribute in node.attribute if attribute.HasField("g")]
    if inner or model.functions:
        name = inner[0] if inner else model.functions[0].name
        raise InputError("backend", f"'{path}' cannot be converted to fp16: '{name}' holds a graph of its own")
    _Converter(model).convert()
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


class _Converter:
    """Rewrites the nodes of a model in their order. Every float tensor may exist twice, in fp32 under its own name and
    in fp16 under another; casts are made when a form is first asked for."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._onnx: Any = onnx_library()
        self._graph = model.graph
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._floats = set(_floats(model.graph, self._onnx.TensorProto.FLOAT))
        self._half: dict[str, str] = {}  # fp32 name -> fp16 name
        self._only_half: set[str] = set()  # fp32 names nobody has made yet
        self._nodes: list[onnx.NodeProto] = []
        self._outputs = {value.name for value in model.graph.output}

    def convert(self) -> None:
        for node in list(self._graph.node):
            if node.op_type == "Constant":
                self._constants[node.output[0]] = self._constant(node)
            if self._computes_in_half(node):
                self._rewrite(node)
            else:
                for name in node.input:
                    self._as_float(name)
                self._nodes.append(node)
        for name in self._outputs:
            self._as_float(name)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input} | self._outputs
        kept = [tensor for tensor in self._graph.initializer if tensor.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)
        del self._graph.value_info[:]  # their types are others now; inferred again by whoever reads the file

    def _computes_in_half(self, node: onnx.NodeProto) -> bool:
        data = self._data_inputs(node)
        if node.domain not in ("", "ai.onnx") or not data or any(self._too_large(name) for _, name in data):
            return False
        if node.op_type in _HALF:
            return True
        moving = [name for _, name in data if name not in self._constants]
        return node.op_type in _PASSING and bool(moving) and all(name in self._half for name in moving)

    def _data_inputs(self, node: onnx.NodeProto) -> list[tuple[int, str]]:
        kept = _FLOAT_INPUTS.get(node.op_type, frozenset())
        return [(place, name) for place, name in enumerate(node.input) if name in self._floats and place not in kept]

    def _too_large(self, name: str) -> bool:
        if name not in self._constants:
            return False
        values = self._onnx.numpy_helper.to_array(self._constants[name])
        return bool(values.size) and not bool(np.abs(values).max() <= _LARGEST)

    def _rewrite(self, node: onnx.NodeProto) -> None:
        for place, name in self._data_inputs(node):
            node.input[place] = self._as_half(name)
        for place, name in enumerate(node.output):
            if name in self._floats:
                node.output[place] = self._half[name] = f"{name}/fp16"
                self._only_half.add(name)
        self._nodes.append(node)

    def _as_half(self, name: str) -> str:
        if name not in self._half:
            self._half[name] = half = f"{name}/fp16"
            if name in self._constants:
                values = self._onnx.numpy_helper.to_array(self._constants[name]).astype(np.float16)
                self._graph.initializer.append(self._onnx.numpy_helper.from_array(values, half))
            else:
                self._cast(name, half, self._onnx.TensorProto.FLOAT16)
        return self._half[name]

    def _as_float(self, name: str) -> None:
        if name in self._only_half:
            self._only_half.remove(name)
            self._cast(self._half[name], name, self._onnx.TensorProto.FLOAT)

    def _cast(self, source: str, target: str, to: int) -> None:
        self._nodes.append(self._onnx.helper.make_node("Cast", [source], [target], f"{target}/cast", to=to))

    def _constant(self, node: onnx.NodeProto) -> onnx.TensorProto:
        for attribute in node.attribute:
            if attribute.name == "value":
                return attribute.t
            if attribute.name in ("value_float", "value_floats"):
                values = attribute.f if attribute.name == "value_float" else list(attribute.floats)
                return self._onnx.numpy_helper.from_array(np.array(values, np.float32), node.output[0])
        return self._onnx.numpy_helper.from_array(np.zeros(0, np.float32), node.output[0])


def _floats(graph: onnx.GraphProto, float_type: int) -> Iterator[str]:
    values: Iterable[onnx.ValueInfoProto] = (*graph.input, *graph.value_info, *graph.output)
    yield from (value.name for value in values if value.type.tensor_type.elem_type == float_type)
    yield from (tensor.name for tensor in graph.initializer if tensor.data_type == float_type)
