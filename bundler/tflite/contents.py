"""Reads the operators of a .tflite file, and tells which of them compute in float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FLOATS = ("FLOAT32", "FLOAT16", "BFLOAT16", "FLOAT64")


@dataclass(frozen=True)
class TfliteOperator:
    """One operator of a .tflite file.

    Attributes:
        name: TFLite's name of the operator, such as `CONV_2D`.
        inputs, outputs: the types that it reads and writes, such as `INT8`.
        tensor: name of its first output, which the converter derives from the layers' names.
        version: its version, by which a runtime knows whether it has all that the operator uses.
        types: the distinct types that it reads and writes, such as `FLOAT32,INT8**>FLOAT32`: `*` marks a type with a scale,
            `**` one with a scale for each channel, `***` one with a scale for each block of a channel.
        custom: whether it is not one of TFLite's builtin operators.
        axes: the most axes of its tensors.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensor: str = ""
    version: int = 1
    types: str = ""
    custom: bool = False
    axes: int = 0

    @property
    def is_float(self) -> bool:
        """Whether the operator computes in float; conversions to and from float do not count."""
        return (
            self.name not in ("QUANTIZE", "DEQUANTIZE")
            and any(t in _FLOATS for t in self.inputs)
            and any(t in _FLOATS for t in self.outputs)
        )


def flex(operators: Iterable[TfliteOperator]) -> list[str]:
    """Return TensorFlow's names of the operators that run in its own kernels, through the Flex delegate."""
    return sorted({operator.name.removeprefix("Flex") for operator in operators if operator.name.startswith("Flex")})


def operators(path: Path) -> tuple[TfliteOperator, ...]:
    """Return the operators of all subgraphs, in order."""
    return operators_of(path.read_bytes())


def operators_of(file: bytes) -> tuple[TfliteOperator, ...]:
    """Return the operators of all subgraphs of a file's content, in order."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(bytearray(file), 0)
    graphs = [model.Subgraphs(index) for index in range(model.SubgraphsLength())]
    return tuple(operator for graph in graphs for operator in _of_graph(model, graph))


def distinct(operators: Iterable[TfliteOperator]) -> tuple[TfliteOperator, ...]:
    """Return one operator of each name, version, types and number of axes."""
    return tuple({(each.name, each.version, each.types, each.axes): each for each in operators}.values())


def count(operators: tuple[TfliteOperator, ...], *, only_float: bool = False) -> dict[str, int]:
    """Count operators by name, the most frequent first."""
    return dict(Counter(o.name for o in operators if o.is_float or not only_float).most_common())


def has_variables(path: Path) -> bool:
    """Return whether the file has variable tensors, as LSTM operators need for their states."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graphs = map(model.Subgraphs, range(model.SubgraphsLength()))
    return any(tensor.IsVariable() for graph in graphs for tensor in map(graph.Tensors, range(graph.TensorsLength())))


def subgraphs(path: Path) -> int:
    """Return the number of subgraphs: one per signature, and those of loops and branches."""
    from ai_edge_litert import schema_py_generated as schema

    return int(schema.Model.GetRootAs(path.read_bytes(), 0).SubgraphsLength())


def _of_graph(model: Any, graph: Any) -> Iterator[TfliteOperator]:
    types = [names_of("TensorType")[graph.Tensors(i).Type()] for i in range(graph.TensorsLength())]
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        inputs = [operator.Inputs(i) for i in range(operator.InputsLength())]
        outputs = [operator.Outputs(i) for i in range(operator.OutputsLength())]
        code = model.OperatorCodes(operator.OpcodeIndex())
        # An omitted optional input is -1.
        input_types = tuple(types[t] for t in inputs if t >= 0)
        output_types = tuple(types[t] for t in outputs)
        marked = ">".join(_marked_types(graph, types, side) for side in (inputs, outputs))
        yield TfliteOperator(
            operator_name(code), input_types, output_types, _tensor(graph, outputs),
            code.Version(), marked, bool(code.CustomCode()), _axes(graph, [*inputs, *outputs]),
        )  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A tensor of a .tflite file; a size that is only known at run time is -1."""

    name: str
    type: str
    dims: tuple[int, ...]
    constant: bool


def graph_nodes(file: bytes) -> Iterator[tuple[str, tuple[Tensor, ...]]]:
    """Yield each operator of a file's main graph by name, with its inputs and then its outputs."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(bytearray(file), 0)
    graph = model.Subgraphs(0)
    tensors = [_read_tensor(model, graph.Tensors(i)) for i in range(graph.TensorsLength())]
    for node in map(graph.Operators, range(graph.OperatorsLength())):
        indices = [node.Inputs(i) for i in range(node.InputsLength())] + [node.Outputs(i) for i in range(node.OutputsLength())]
        yield operator_name(model.OperatorCodes(node.OpcodeIndex())), tuple(tensors[i] for i in indices if i >= 0)


def _read_tensor(model: Any, tensor: Any) -> Tensor:
    signature = [tensor.ShapeSignature(i) for i in range(tensor.ShapeSignatureLength())]
    dims = signature or [tensor.Shape(i) for i in range(tensor.ShapeLength())]
    buffer = model.Buffers(tensor.Buffer())
    is_constant = buffer.DataLength() > 0 or buffer.Offset() > 1
    return Tensor((tensor.Name() or b"").decode(), names_of("TensorType")[tensor.Type()], tuple(dims), is_constant)


def _marked_types(graph: Any, types: list[str], tensors: list[int]) -> str:
    scales = [graph.Tensors(tensor).Quantization() for tensor in tensors if tensor >= 0]
    counts = [_scale_count(quantization) for quantization in scales]
    names = [types[tensor] for tensor in tensors if tensor >= 0]
    return ",".join(dict.fromkeys(name + "*" * min(count, 3) for name, count in zip(names, counts, strict=True)))


def _scale_count(quantization: Any) -> int:
    """Return 0 for no scale, 1 for one, 2 for one for each channel, 3 for one for each block."""
    from ai_edge_litert import schema_py_generated as schema

    if quantization is None:
        return 0
    blocks = quantization.DetailsType() == schema.QuantizationDetails.BlockwiseQuantization
    return 3 if blocks else min(quantization.ScaleLength(), 2)


def _axes(graph: Any, tensors: list[int]) -> int:
    return max((int(graph.Tensors(tensor).ShapeLength()) for tensor in tensors if tensor >= 0), default=0)


def _tensor(graph: Any, outputs: list[int]) -> str:
    return str(graph.Tensors(outputs[0]).Name().decode()) if outputs else ""


def operator_name(code: Any) -> str:
    """Return the name of an operator code of the file, or its own name for a custom operator."""
    # Codes above 127 are in the newer field, and the older field holds a placeholder.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    name = names_of("BuiltinOperator")[number]
    return str(code.CustomCode().decode()) if name == "CUSTOM" else name


@cache
def names_of(enum: str) -> dict[int, str]:
    """Return the names of one of TFLite's enumerations, such as `TensorType`, by number."""
    from ai_edge_litert import schema_py_generated as schema

    members = vars(getattr(schema, enum))
    return {number: name for name, number in members.items() if isinstance(number, int)}
