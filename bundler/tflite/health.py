"""Layers that lose their meaning in an int8 file, although its outputs may look alike.

In a model with residual connections, an attention whose scores have one value left changes the outputs only a little. So the
tensors within the file are compared with those of the float file: a tensor is dead if it has one or two values where there are
many in float, and saturated if many of its values lie beyond its range in float. A tensor that is only a part of a concatenation
has the scale of the whole, whose health counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

import numpy as np

from bundler.tflite.clipping import MASK, Clipped
from bundler.tflite.flatbuffer import builtin_name
from bundler.tflite.observed import observed
from bundler.tflite.recurrent import start_from_zero
from bundler.values.arrays import Array
from serving.texts import plural

CALLS = 4
"""Number of calibration calls that are compared."""
_FEW, _MANY = 2, 16
"""The most values of a dead tensor, and the fewest different values that it has in float."""
_SATURATED, _BEYOND = 0.1, 0.1
"""The least share of values of a saturated tensor that lie beyond its range, by more than this share of the range."""
_JOINING = ("CONCATENATION", "PACK")
_KEEPING = ("BROADCAST_TO", "TILE", "RESHAPE", "EXPAND_DIMS", "SQUEEZE", "TRANSPOSE")
"""Operators whose output has the scale of their input, such as those that repeat a class token for each row."""


def unhealthy(clipped: Clipped, quantized: bytes, calls: Iterable[Mapping[str, Array]]) -> dict[str, str]:
    """Return what is wrong with the tensors of a quantized file, by their names.

    Args:
        clipped: the file before it was quantized; its tensors have the same names.
        quantized: content of the file.
        calls: calibration calls of serving_default.
    """
    used = list(islice(calls, CALLS))
    exact, found = observed(start_from_zero(clipped.file), used), observed(quantized, used)
    parts = _parts(quantized)
    compared = {name: values for name, values in found.items() if name not in parts and _can_be_compared(exact, name, values)}
    complaints = {name: _complaint(exact[name], values, masked=name in clipped.masked) for name, values in compared.items()}
    return {name: complaint for name, complaint in complaints.items() if complaint}


def _parts(file: bytes) -> set[str]:
    """Return the names of the tensors that nothing but concatenations read, directly or through operators that keep the scale."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file, 0))
    names = set()
    for graph in model.subgraphs:
        parts, others = set[int](), set(map(int, graph.outputs))
        for operator in reversed(graph.operators):
            kind, output = builtin_name(model, operator), int(operator.outputs[0])
            is_part = kind in _JOINING or (kind in _KEEPING and output in parts - others)
            (parts if is_part else others).update(map(int, operator.inputs))
        names |= {graph.tensors[index].name.decode() for index in parts - others}
    return names


def _can_be_compared(exact: Mapping[str, Array], name: str, values: Array) -> bool:
    return values.dtype == np.float64 and name in exact and exact[name].dtype == np.float32 and exact[name].size == values.size


def _complaint(exact: Array, values: Array, *, masked: bool) -> str:
    """Return what is wrong with a tensor; empty if nothing is. Masked values are meant to be at the end of the range."""
    real = np.abs(exact) < (MASK / 2 if masked else np.inf)
    exact, values = exact[real], values[real]
    if len(np.unique(exact)) < _MANY:
        return ""
    count = len(np.unique(values))
    if count <= _FEW:
        return f"{plural(count, 'value')} left of {len(np.unique(exact))}"
    low, high = float(values.min()), float(values.max())
    margin = _BEYOND * (high - low)
    beyond = float(np.mean((exact < low - margin) | (exact > high + margin)))
    return f"{beyond:.0%} of its values are cut off at the end of its range" if beyond >= _SATURATED else ""
