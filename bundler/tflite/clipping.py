"""The range of each tensor that loses least in int8.

TensorFlow's calibration keeps the smallest and the largest value of each tensor. A few far values then take most of int8's 256
levels, so the ranges are narrowed to those with the smallest squared error over the values of the calibration calls. Where only
an activation function reads a tensor, it is the error of its result: the far negative values that become 0 need no levels.

A mask of attention puts -inf, or a number like -3.4e38, in place of the scores that do not count, or adds it, and a range that
includes it would leave one level to all others. On the way to a softmax, masked values are left out of the search. The range of
scores ends `BEYOND_SCORES` below the smallest other value, since softmax of that is 0 in int8, as of the mask itself; that of the
mask alone ends at `MASK`, to which its constants are changed, so that its sum with any score is at the end of the scores' range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from bundler.tflite.contents import names_of
from bundler.tflite.flatbuffer import builtin_name, packed
from bundler.tflite.observed import observed
from bundler.values.arrays import Array

CALLS = 8
"""Number of calibration calls whose values are used."""
_FEWEST = 4_096
"""A range is not narrowed for fewer values, which do not represent those of other inputs."""
_BINS = 1_024
_SHARES = np.array([1, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
"""Shares of each end of a range that are tried."""

_OF_ZEROS = (-1.0, 1.0)
"""The range of a tensor of zeros: XNNPACK cannot prepare a convolution whose output has hardly any, and LiteRT then crashes."""

_LEAST_MASK, _GAP = 1e3, 30.0
"""A mask is at least so large, and so many times as large as all values that it does not stand for."""
BEYOND_SCORES = 8.0
"""The distance of masked scores from others: exp(-8) is less than half of the last digit of softmax in int8."""
MASK = 100.0
"""What stands for a mask: exp(-100) is 0 in float32."""
_TO_SOFTMAX = frozenset({
    "ADD", "SUB", "MUL", "DIV", "SELECT", "SELECT_V2", "MAXIMUM", "MINIMUM", "RESHAPE", "TRANSPOSE", "EXPAND_DIMS", "SQUEEZE",
    "BROADCAST_TO", "TILE", "SLICE", "STRIDED_SLICE", "NEG",
})  # fmt: skip
"""Operators through which masks and scores reach a softmax."""


Function = Callable[[Array], Array]
"""A function of each element."""


def _sigmoid(values: Array) -> Array:
    halves: Array = np.tanh(values / 2)  # which does not overflow
    return halves / 2 + 0.5


def _swish(values: Array) -> Array:
    return values * _sigmoid(values)


FUNCTIONS: Mapping[str, Function] = {
    "LOGISTIC": _sigmoid,
    "TANH": np.tanh,
    "HARD_SWISH": lambda values: values * np.clip(values + 3, 0, 6) / 6,
    # GELU by its approximation, which is as good here.
    "GELU": lambda values: values / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (values + 0.044715 * values**3))),
    "RELU": lambda values: np.maximum(values, 0),
    "RELU6": lambda values: np.clip(values, 0, 6),
}  # fmt: skip
"""Activation functions that are operators of their own."""


@dataclass(frozen=True)
class Clipped:
    """A calibrated file with better ranges.

    Attributes:
        file: its content.
        masked: the names of tensors with masked values.
    """

    file: bytes
    masked: frozenset[str]


def clip(calibrated: bytes, calls: Mapping[str, Iterable[Mapping[str, Array]]]) -> Clipped:
    """Search the ranges of all tensors of a float file.

    Args:
        calibrated: content of the file with ranges.
        calls: calibration calls by signature.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(calibrated), 0))
    numbers = {signature.signatureKey.decode(): signature.subgraphIndex for signature in model.signatureDefs}
    masked = set()
    for signature, inputs in calls.items():
        graph = model.subgraphs[numbers[signature]]
        values = observed(calibrated, islice(inputs, CALLS), signature)
        scores, functions = _before_softmax(model, graph), functions_of(model, graph)
        for index, tensor in enumerate(graph.tensors):
            seen = values.get(tensor.name.decode())
            if seen is None or seen.dtype != np.float32 or not _has_range(tensor):
                continue
            low, high, has_mask = best_range(seen, functions.get(index), may_be_masked=index in scores)
            if has_mask:
                masked.add(index)
            if low == high:
                low, high = _OF_ZEROS
            tensor.quantization.min, tensor.quantization.max = np.array([low], np.float32), np.array([high], np.float32)
        _bound_constants(model, graph, masked)
    names = frozenset(graph.tensors[index].name.decode() for index in masked)
    return Clipped(packed(model, size=len(calibrated)), names)


def _before_softmax(model: Any, graph: Any) -> set[int]:
    """Return the tensors that reach a softmax through operators that compute or move scores and masks."""
    producers = {output: operator for operator in graph.operators for output in operator.outputs}
    softmax = [operator for operator in graph.operators if builtin_name(model, operator) == "SOFTMAX"]
    queue, found = [int(operator.inputs[0]) for operator in softmax], set[int]()
    while queue:
        tensor = queue.pop()
        if tensor in found or tensor < 0:
            continue
        found.add(tensor)
        producer = producers.get(tensor)
        if producer is not None and builtin_name(model, producer) in _TO_SOFTMAX:
            queue += map(int, producer.inputs)
    return found


def functions_of(model: Any, graph: Any) -> dict[int, Function]:
    """Return the activation functions of the tensors that nothing else reads, by their indices."""
    users: dict[int, list[tuple[str, int]]] = {int(index): [("", -1)] for index in graph.outputs}
    inputs_of: dict[int, list[int]] = {}
    for operator in graph.operators:
        inputs, output = [*map(int, operator.inputs)], int(operator.outputs[0])
        inputs_of[output] = inputs
        for index in inputs:
            users.setdefault(index, []).append((builtin_name(model, operator), output))
    found = {}
    for index, of_index in users.items():
        names = sorted(name for name, _ in of_index)
        if len(names) == 1 and names[0] in FUNCTIONS:
            found[index] = FUNCTIONS[names[0]]
        elif names == ["LOGISTIC", "MUL"]:
            gate, product = (output for _, output in sorted(of_index))
            if sorted(inputs_of[product]) == sorted((index, gate)):
                found[index] = _swish
    return found


def _bound_constants(model: Any, graph: Any, masked: set[int]) -> None:
    """Replace what stands for a mask in the constants of operators whose output has masked values."""
    types = names_of("TensorType")
    for operator in graph.operators:
        if int(operator.outputs[0]) not in masked:
            continue
        for index in map(int, operator.inputs):
            buffer = model.buffers[graph.tensors[index].buffer] if index >= 0 else None
            if buffer is None or buffer.data is None or types[graph.tensors[index].type] != "FLOAT32":
                continue
            values = np.frombuffer(bytes(buffer.data), np.float32)
            bounded = np.where(np.abs(values) >= _LEAST_MASK, np.copysign(np.float32(MASK), values), values)
            buffer.data = np.frombuffer(bounded.astype(np.float32).tobytes(), np.uint8)


def best_range(
    values: Array, function: Function | None = None, *, may_be_masked: bool = False
) -> tuple[float, float, bool]:
    """Return the smallest and the largest value of the range, which includes 0, and whether some values are masked.

    Args:
        values: all values that were seen, in one dimension.
        function: what alone reads the values; None counts their own errors.
        may_be_masked: whether the tensor is on the way to a softmax.
    """
    real = values[is_real(values)] if may_be_masked else values[np.isfinite(values)]
    low, high = min(float(real.min(initial=0.0)), 0.0), max(float(real.max(initial=0.0)), 0.0)
    if may_be_masked and real.size < values.size:
        is_mask = len(np.unique(real)) <= 2
        if float(values.min()) < low:
            return (-MASK if is_mask else low - BEYOND_SCORES), high, True
        return low, (MASK if is_mask else high + BEYOND_SCORES), True
    if real.size < _FEWEST or low == high:
        return low, high, False
    counts, edges = np.histogram(real, _BINS, (low, high))
    centers = (edges[:-1] + edges[1:]) / 2
    lows, highs = (side.ravel() for side in np.meshgrid(low * _SHARES, high * _SHARES))
    candidates = np.unique(np.stack([lows, highs], 1), axis=0)
    read = function or (lambda values: values)
    right = read(centers)
    errors = [float(counts @ np.square(read(_rounded(centers, *ends)) - right)) for ends in candidates]
    best = candidates[int(np.argmin(errors))]
    return float(best[0]), float(best[1]), False


def is_real(values: Array) -> Array:
    """Return which values are finite and not masked, that is, not far beyond all others."""
    real: Array = np.isfinite(values)
    sizes = np.sort(np.abs(values[real]))
    if sizes.size < 2 or sizes[-1] < _LEAST_MASK:
        return real
    ratios = sizes[1:] / np.maximum(sizes[:-1], 1.0)
    place = int(np.argmax(ratios))
    if ratios[place] < _GAP or sizes[place + 1] < _LEAST_MASK:
        return real
    unmasked: Array = real & (np.abs(values) <= sizes[place])
    return unmasked


def _rounded(values: Array, low: float, high: float) -> Array:
    scale = (high - low) / 255
    return np.clip(np.round((values - low) / scale), 0, 255) * scale + low if scale else np.zeros_like(values)


def _has_range(tensor: Any) -> bool:
    quantization = tensor.quantization
    return quantization is not None and quantization.min is not None and len(quantization.min) == 1
