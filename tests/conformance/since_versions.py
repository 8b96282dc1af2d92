"""Every operator of ai.onnx at every version: cases for the table of versions.

A version whose form did not change since takes ONNX's own node tests, with the opset set back to that version. Where an input of
today was an attribute, the test's data becomes the attribute. Where the meaning changed, `OLDER` has a case by the operator's
page; ONNX Runtime must agree with it where it has a kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnx.defs
from onnx import helper

from tests.conformance.cases import node_cases
from tests.conformance.known_failures import reason
from tests.conformance.older_meanings import OLDER

MOST_PER_VERSION = 3
"""Node tests that are run per operator and version; the newest form of all of them runs in test_nodes.py."""

_REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSumSquare",
)  # fmt: skip

ATTRIBUTES: dict[str, tuple[int, Mapping[int, str]]] = {
    "Clip": (11, {1: "min", 2: "max"}),
    "DFT": (20, {2: "axis"}),
    "Pad": (11, {1: "pads", 2: "value"}),
    "ReduceSum": (13, {1: "axes"}),
    "Reshape": (5, {1: "shape"}),
    "Slice": (10, {1: "starts", 2: "ends", 3: "axes"}),
    "Split": (13, {1: "split"}),
    "Squeeze": (13, {1: "axes"}),
    "TopK": (10, {1: "k"}),
    "Unsqueeze": (13, {1: "axes"}),
    **dict.fromkeys(_REDUCTIONS, (18, {1: "axes"})),
}
"""Operator -> (the first opset with the inputs, input -> the attribute that it was before)."""

_FLOATS, _NUMBERS = frozenset({"min", "max", "value"}), frozenset({"axis", "k"})

CHANGED: Mapping[str, int] = {
    "Add": 7, "And": 7, "BatchNormalization": 9, "Concat": 4, "Cast": 6, "Div": 7, "Dropout": 12, "Equal": 7, "Gemm": 7,
    "GlobalLpPool": 2, "Greater": 7, "GridSample": 20, "GroupNormalization": 21, "Hardmax": 13, "Less": 7, "LogSoftmax": 13,
    "LpPool": 2, "Mul": 7, "Or": 7, "PRelu": 7, "Pow": 7, "Resize": 11, "RoiAlign": 16, "Scan": 9,
    "Selu": 6, "Softmax": 13, "Sub": 7, "Tile": 6, "Upsample": 11, "Xor": 7,
}  # fmt: skip
"""Operator -> the first opset in which its form or meaning is today's; cases of older ones are in OLDER."""


_DRAWS = "its output is a random draw; tests of random operators compare distributions"
_SEQUENCES = "its tests have several nodes, as no signature holds a sequence; they run in test_nodes.py"

WITHOUT_CASE: Mapping[str, str] = {
    **dict.fromkeys(("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"), _DRAWS),
    **dict.fromkeys(("RandomUniform", "RandomUniformLike"), _DRAWS),
    **dict.fromkeys(
        ("ConcatFromSequence", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceLength"),
        _SEQUENCES,
    ),
    "Optional": _SEQUENCES,
}
"""Operators without a case in this table, each with the reason."""


@dataclass(frozen=True)
class SinceCase:
    """A node test of one version, in the form that tests.conformance.runner takes."""

    name: str
    model: onnx.ModelProto
    data_sets: list[Any]
    rtol: float = 1e-3
    atol: float = 1e-5


def versions() -> list[tuple[str, int]]:
    """Return every operator of ai.onnx with each version of its schema, in order."""
    schemas: list[Any] = onnx.defs.get_all_schemas_with_history()
    return sorted({(s.name, s.since_version) for s in schemas if s.domain == "" and not _is_experimental(s)})


def _is_experimental(schema: Any) -> bool:
    return schema.support_level == onnx.defs.OpSchema.SupportType.EXPERIMENTAL


def cases(op_type: str, version: int, most: int = MOST_PER_VERSION) -> list[SinceCase]:
    """Return the cases of an operator at a version, `most` of them at most where they are ONNX's."""
    own = list(islice(_set_back(op_type, version), most)) if version >= CHANGED.get(op_type, 0) else []
    return own or written_cases(op_type, version)


def written_cases(op_type: str, version: int) -> list[SinceCase]:
    """Return the cases of an operator that this project has written."""
    return [
        SinceCase(f"{op_type}-{version}-{number}", older.model(version), [(older.inputs, older.outputs)])
        for number, older in enumerate(
            OLDER[op_type](version) if op_type in OLDER and _needs_own(op_type, version) else ()
        )
    ]


def _needs_own(op_type: str, version: int) -> bool:
    return version < CHANGED.get(op_type, 0) or not any(_set_back(op_type, version))


def _set_back(op_type: str, version: int) -> Iterator[SinceCase]:
    for case in _by_operator().get(op_type, ()):
        model, inputs = onnx.ModelProto(), list(case.data_sets[0][0])
        model.CopyFrom(case.model)
        if _move_to_attributes(model.graph, inputs, op_type, version) and _is_valid(model, version):
            yield SinceCase(
                f"{op_type}-{version}-{case.name}", model, [(inputs, case.data_sets[0][1])], case.rtol, case.atol
            )


@cache
def _by_operator() -> dict[str, list[Any]]:
    """Return the passing node tests of a single node by operator, short ones first."""
    found: dict[str, list[Any]] = {}
    for name, case in sorted(node_cases().items(), key=lambda item: (len(item[0]), item[0])):
        nodes = case.model.graph.node
        if len(nodes) == 1 and reason(name) is None:
            found.setdefault(nodes[0].op_type, []).append(case)
    return found


def _move_to_attributes(graph: onnx.GraphProto, inputs: list[Any], op_type: str, version: int) -> bool:
    """Turn inputs into the attributes of an older version, in place. Return whether that version can express the node."""
    before, names = ATTRIBUTES.get(op_type, (0, {}))
    if version >= before:
        return True
    (node,) = graph.node
    data = {value.name: array for value, array in zip(graph.input, inputs, strict=True)}
    if op_type == "Slice" and len(node.input) == 5:
        if (data[node.input[4]] != 1).any():
            return False
        _drop_input(graph, inputs, node.input.pop())
    for index in sorted(names, reverse=True):
        if index >= len(node.input):
            continue
        name = node.input[index]
        del node.input[index]
        if name:
            values = np.asarray(data[name]).reshape(-1)
            attribute = "paddings" if (op_type, version, index) == ("Pad", 1, 1) else names[index]
            node.attribute.append(_attribute(attribute, values))
            _drop_input(graph, inputs, name)
    return True


def _attribute(name: str, values: Any) -> onnx.AttributeProto:
    if name in _FLOATS:
        return helper.make_attribute(name, float(values[0]))
    value = values[0].item() if name in _NUMBERS else values.tolist()
    return helper.make_attribute(name, value, attr_type=None if value != [] else onnx.AttributeProto.INTS)


def _drop_input(graph: onnx.GraphProto, inputs: list[Any], name: str) -> None:
    index = [value.name for value in graph.input].index(name)
    del graph.input[index], inputs[index]


def _is_valid(model: onnx.ModelProto, version: int) -> bool:
    """Set the opset back and return whether the node is valid in it, by ONNX's checker and the types of its schema."""
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", version))
    model.ir_version = min(model.ir_version, 10) if version < 21 else model.ir_version
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return False
    schema: Any = onnx.defs.get_schema(model.graph.node[0].op_type, version, "")
    allowed = [set(parameter.types) for parameter in schema.inputs]
    types = {v.name: _type_text(v) for v in model.graph.input}
    return all(
        types.get(name) is None or types[name] in allowed[min(index, len(allowed) - 1)]
        for index, name in enumerate(model.graph.node[0].input)
    )


def _type_text(value: onnx.ValueInfoProto) -> str | None:
    if value.type.WhichOneof("value") != "tensor_type":
        return None
    return f"tensor({onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()})"
