"""Models for the sweep over sizes of 0, and the inputs that it runs them with.

ONNX's node tests give a model of one node each, whose sizes become dynamic. `models.py` adds what they do not have: nodes that
TensorFlow's graph optimizer fuses, and operators of other domains.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.conformance.cases import fed_inputs, ml_cases, node_cases
from tests.conformance.known_failures import reason

Arrays = Mapping[str, Any]

MOST_PER_OPERATOR = 8
"""Node tests per operator; they differ in attributes, ranks, outputs or dtype."""

MOST_AXES = 5
"""Axes of which every subset is tried; of more, only subsets of up to two axes."""

_PARAMETERS = frozenset(
    {
        "axes", "axis", "block_shape", "bins", "cond", "delta", "dft_length", "depth", "end", "ends", "frame_length",
        "frame_step", "image_shape", "k", "limit", "max_output_boxes_per_class", "M", "num_mel_bins", "output_shape", "pads",
        "ratio", "repeats",
        "roi", "sample_rate", "scales", "shape", "size", "sizes", "split", "start", "starts", "steps", "target_shape",
        "training_mode", "trip_count", "total_sequence_length", "upper_edge_hertz", "lower_edge_hertz", "position",
    }
)  # fmt: skip
"""Inputs of ONNX's schemas that are settings, and become constants: the sweep is about the sizes of data."""

_OF_WEIGHTS = frozenset(
    {
        "Conv", "ConvInteger", "ConvTranspose", "DeformConv", "GRU", "LSTM", "QLinearConv", "RNN",
    }
)  # fmt: skip
"""Operators of which only the first input has dynamic sizes: the others are weights, whose sizes the engine has to know."""

_SKIPPED = {"BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E5M2", "UINT4", "INT4"}


@dataclass(frozen=True)
class SweepCase:
    """A model with dynamic sizes, and inputs with some of them 0.

    Attributes:
        name: the case's name.
        operator: the operator that it is about, `domain::op_type` outside of ai.onnx.
        model: the model.
        feeds: inputs by name, one mapping per subset of the dynamic sizes.
        expected: the outputs that each feed requires; None leaves the answer to ONNX Runtime and ONNX's reference.
    """

    name: str
    operator: str
    model: onnx.ModelProto
    feeds: Sequence[Arrays]
    expected: Sequence[Sequence[Any]] | None = None


@cache
def all_cases() -> dict[str, SweepCase]:
    """Return every case by name."""
    return {**{case.name: case for case in _from_node_tests() if case.feeds}, **_own()}


def find(name: str) -> SweepCase:
    """Return the case of this name. ONNX's node tests, which take seconds to make, are made only if it is one of them."""
    return _own()[name] if name in _own() else all_cases()[name]


@cache
def _own() -> dict[str, SweepCase]:
    from tests.zero_sweep.models import own_cases

    return {case.name: case for case in own_cases() if case.feeds}


def _from_node_tests() -> Iterator[SweepCase]:
    counts: dict[str, int] = {}
    seen = set()
    tests = {**node_cases(), **ml_cases()}
    for name in sorted(tests, key=lambda n: (len(n), n)):
        test = tests[name]
        if len(test.model.graph.node) != 1 or reason(name) is not None or not _is_plain(test.model.graph):
            continue
        node, inputs = test.model.graph.node[0], test.data_sets[0][0]
        kind = _kind(node, test.model.graph, inputs)
        if kind in seen or counts.get(node.op_type, 0) >= MOST_PER_OPERATOR:
            continue
        seen.add(kind)
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
        operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        data = {v.name: np.asarray(a) for v, a in zip(fed_inputs(test.model.graph), inputs, strict=True)}
        settings = _settings(node, test.model)
        yield swept(name, operator, test.model, data, settings | set(list(data)[1:] if node.op_type in _OF_WEIGHTS else ()))


def _is_plain(graph: onnx.GraphProto) -> bool:
    values = [v.type for v in (*graph.input, *graph.output)]
    types = onnx.TensorProto.DataType
    return all(t.WhichOneof("value") == "tensor_type" and types.Name(t.tensor_type.elem_type) not in _SKIPPED for t in values)


def _kind(node: onnx.NodeProto, graph: onnx.GraphProto, inputs: Sequence[Any]) -> Any:
    texts = tuple(sorted((a.name, a.s) for a in node.attribute))
    ranks = tuple((np.asarray(a).ndim, np.asarray(a).dtype.kind in "fOU") for a in inputs)
    return node.op_type, texts, ranks, tuple(map(bool, node.input)), tuple(map(bool, node.output))


def _settings(node: onnx.NodeProto, model: onnx.ModelProto) -> set[str]:
    """Return the names of the inputs that the schema describes as settings."""
    version = next(o.version for o in model.opset_import if o.domain in (node.domain, "ai.onnx"))
    formal = onnx.defs.get_schema(node.op_type, version, node.domain).inputs
    names = [formal[min(i, len(formal) - 1)].name for i in range(len(node.input))] if formal else []
    return {actual for actual, name in zip(node.input, names, strict=False) if name in _PARAMETERS}


def swept(name: str, operator: str, model: onnx.ModelProto, data: Arrays, settings: set[str] | None = None) -> SweepCase:
    """Make a case: settings become constants, all other sizes dynamic, and every subset of those is 0 in a feed."""
    dynamic = {k: v for k, v in data.items() if k not in (settings or ())}
    feeds = [_emptied(dynamic, subset) for subset in _subsets(dynamic)]
    return SweepCase(name, operator, with_dynamic_sizes(model, data, set(dynamic)), feeds)


def with_dynamic_sizes(model: onnx.ModelProto, data: Arrays, dynamic: set[str]) -> onnx.ModelProto:
    """Return the model with dynamic sizes for these inputs; the other inputs become constants."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    inputs = [v for v in graph.input if v.name in dynamic]
    graph.initializer.extend(numpy_helper.from_array(_constant(a), k) for k, a in data.items() if k not in dynamic)
    del graph.input[:]
    graph.input.extend(
        helper.make_tensor_value_info(
            v.name, v.type.tensor_type.elem_type, [f"{v.name}_{axis}" for axis in range(np.ndim(data[v.name]))]
        )
        for v in inputs
    )
    for output in graph.output:
        for dim in output.type.tensor_type.shape.dim:
            dim.Clear()
    return result


def _constant(array: Any) -> Any:
    return array.astype(object) if array.dtype.kind in "US" else array


def _subsets(data: Arrays) -> Iterator[frozenset[tuple[str, int]]]:
    """Yield sets of axes (input, axis) that are 0 together."""
    groups = _groups(data)
    most = len(groups) if len(groups) <= MOST_AXES else 2
    for count in range(1, most + 1):
        for chosen in itertools.combinations(groups, count):
            yield frozenset().union(*chosen)


def _groups(data: Arrays) -> list[frozenset[tuple[str, int]]]:
    """Return the axes that have to have the same size, as far as the sizes of the test tell.

    Inputs of one shape belong together axis by axis. A size that no input has twice ties the inputs that have it.
    """
    shapes = {name: array.shape for name, array in data.items()}
    groups: dict[Any, set[tuple[str, int]]] = {}
    for name, shape in shapes.items():
        for axis, size in enumerate(shape):
            is_unique = size > 1 and all(s.count(size) <= 1 for s in shapes.values())
            groups.setdefault(size if is_unique else (shape, axis), set()).add((name, axis))
    return [frozenset(group) for group in groups.values()]


def _emptied(data: Arrays, axes: frozenset[tuple[str, int]]) -> dict[str, Any]:
    return {
        name: np.zeros([0 if (name, a) in axes else n for a, n in enumerate(array.shape)], array.dtype)
        if any((name, a) in axes for a in range(array.ndim))
        else array
        for name, array in data.items()
    }
