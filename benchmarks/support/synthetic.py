"""Synthetic ONNX models with a given number of nodes, or a given size of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

OPSET = 17
"""Older than the engine's own opset, so that raising it is measured too."""


def chain(nodes: int) -> onnx.ModelProto:
    """Return blocks of a convolution and a linear layer, with the shape arithmetic that exporters write around a view."""
    rng = np.random.default_rng(0)
    graph = _Graph()
    graph.constant("first", np.array(0))
    graph.constant("axes", np.array([0]))
    graph.constant("tail", np.array([64]))
    graph.constant("image", np.array([8, 4, 2]))
    value = "x"
    for number in range(nodes // 11):
        name = f"block{number}"
        graph.constant(f"{name}.kernel", rng.normal(size=(8, 8, 1, 1)).astype(np.float32))
        graph.constant(f"{name}.matrix", rng.normal(size=(64, 64)).astype(np.float32) / 8)
        graph.constant(f"{name}.bias", rng.normal(size=64).astype(np.float32))
        value = _block(graph, name, value)
    return graph.model(value, ["batch", 8, 4, 2])


def _block(graph: _Graph, name: str, value: str) -> str:
    """Add eleven nodes, whose result has the shape of `value`."""
    conv = graph.node("Conv", value, f"{name}.kernel")
    active = graph.node("Relu", conv)
    size = graph.node("Gather", graph.node("Shape", value), "first", axis=0)
    batch = graph.node("Unsqueeze", size, "axes")
    flat = graph.node("Reshape", active, graph.node("Concat", batch, "tail", axis=0))
    linear = graph.node("Add", graph.node("MatMul", flat, f"{name}.matrix"), f"{name}.bias")
    return graph.node("Reshape", linear, graph.node("Concat", batch, "image", axis=0))


def constants(nodes: int) -> onnx.ModelProto:
    """Return a chain with a constant for every two nodes: in turn an initializer of variable size and a small Constant node."""
    rng = np.random.default_rng(0)
    graph = _Graph()
    value = "x"
    for number in range(nodes // 5):
        value = graph.node("Add", value, graph.constant(f"row{number}", rng.normal(size=(1, 300)).astype(np.float32)))
        value = graph.node("Relu", value)
        tensor = numpy_helper.from_array(rng.normal(size=(1, 1)).astype(np.float32))
        value = graph.node("Mul", value, graph.node("Constant", value=tensor))
        value = graph.node("Tanh", value)
    return graph.model(value, ["batch", 300])


class _Graph:
    """The nodes and constants of a graph, in the order in which they are added."""

    def __init__(self) -> None:
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        number = len(self._nodes)
        output = f"v{number}"
        self._nodes.append(helper.make_node(op_type, list(inputs), [output], f"n{number}", **attributes))
        return output

    def constant(self, name: str, array: np.ndarray[Any, Any]) -> str:
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def external(self, name: str, array: np.ndarray[Any, Any], data: BinaryIO) -> str:
        """Add a constant whose numbers are written to the file `data`, in the model's folder."""
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=array.shape, data_location=TensorProto.EXTERNAL)
        data.write(bytes(-data.tell() % 4096))  # memory is mapped by pages
        entries = {"location": Path(data.name).name, "offset": data.tell(), "length": array.nbytes}
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
        data.write(array.data)
        self._constants.append(tensor)
        return name

    def model(self, output: str, dims: list[str | int]) -> onnx.ModelProto:
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name in ("x", output)]
        graph = helper.make_graph(self._nodes, "synthetic", ends[:1], ends[1:], self._constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def perceptron(folder: Path, layers: int, width: int) -> Path:
    """Write linear layers with a Relu each, with external weights, of which at most one layer is in memory at a time."""
    rng = np.random.default_rng(0)
    graph, value = _Graph(), "x"
    with (folder / "perceptron.onnx.data").open("wb") as data:
        for number in range(layers):
            matrix = rng.standard_normal((width, width), dtype=np.float32)
            matrix /= np.float32(width**0.5)
            bias = rng.standard_normal(width, dtype=np.float32)
            names = [graph.external(f"{name}{number}", a, data) for name, a in (("matrix", matrix), ("bias", bias))]
            value = graph.node("Relu", graph.node("Add", graph.node("MatMul", value, names[0]), names[1]))
    path = folder / "perceptron.onnx"
    onnx.save(graph.model(value, ["batch", width]), str(path))
    return path
