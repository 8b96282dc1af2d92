"""What is in a .tflite file: its operators, and which of them compute in float."""

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
        name: TFLite's (`CONV_2D`).
        inputs, outputs: the types it reads and writes (`INT8`).
        tensor: name of its first output, which the converter makes of the layers' names.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensor: str = ""

    @property
    def is_float(self) -> bool:
        """Whether it computes in float; converting to or from float does not count."""
        return (
            self.name not in ("QUANTIZE", "DEQUANTIZE")
            and any(t in _FLOATS for t in self.inputs)
            and any(t in _FLOATS for t in self.outputs)
        )


def flex(found: Iterable[TfliteOperator]) -> list[str]:
    """The operators that TensorFlow's own kernels compute, through the Flex delegate; by TensorFlow's names."""
    return sorted({operator.name.removeprefix("Flex") for operator in found if operator.name.startswith("Flex")})


def operators(path: Path) -> tuple[TfliteOperator, ...]:
    """All operators of all subgraphs, in order."""
    return operators_of(path.read_bytes())


def operators_of(file: bytes) -> tuple[TfliteOperator, ...]:
    """The same for a file's content."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(bytearray(file), 0)
    graphs = [model.Subgraphs(index) for index in range(model.SubgraphsLength())]
    return tuple(operator for graph in graphs for operator in _of_graph(model, graph))


def count(found: tuple[TfliteOperator, ...], *, only_float: bool = False) -> dict[str, int]:
    """Operators by name, the most frequent first."""
    return dict(Counter(o.name for o in found if o.is_float or not only_float).most_common())


def _of_graph(model: Any, graph: Any) -> Iterator[TfliteOperator]:
    types = [names_of("TensorType")[graph.Tensors(i).Type()] for i in range(graph.TensorsLength())]
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        inputs = [operator.Inputs(i) for i in range(operator.InputsLength())]
        outputs = [operator.Outputs(i) for i in range(operator.OutputsLength())]
        name = _operator_name(model.OperatorCodes(operator.OpcodeIndex()))
        # -1 stands for an optional input that is not given.
        read, made = tuple(types[t] for t in inputs if t >= 0), tuple(types[t] for t in outputs)
        yield TfliteOperator(name, read, made, _tensor(graph, outputs))


def _tensor(graph: Any, outputs: list[int]) -> str:
    return str(graph.Tensors(outputs[0]).Name().decode()) if outputs else ""


def _operator_name(code: Any) -> str:
    # Codes above 127 stand in the newer field; an old reader finds a placeholder in the older one.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    name = names_of("BuiltinOperator")[number]
    return str(code.CustomCode().decode()) if name == "CUSTOM" else name


@cache
def names_of(enum: str) -> dict[int, str]:
    """Names by number of one of TFLite's enumerations, such as `TensorType`."""
    from ai_edge_litert import schema_py_generated as schema

    members = vars(getattr(schema, enum))
    return {number: name for name, number in members.items() if isinstance(number, int)}
