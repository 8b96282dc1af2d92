"""The values of the tensors within a .tflite file."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from bundler.tflite.runner import as_taken
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT

_VALUES = 16_384
"""Values of a tensor that are drawn from one call; its smallest and its largest are returned, too."""


def observed(
    file: bytes, calls: Iterable[Mapping[str, Array]], signature: str = SERVING_DEFAULT
) -> dict[str, Array]:
    """Run a file, and return values of the tensors of a signature's graph by name, over all calls in one dimension.

    The same values are drawn from tensors of one size, in any file. Values of int8 tensors are returned as float64, those of
    others in their dtype. Tensors that a kernel does not keep are left out.

    Args:
        file: its content.
        calls: inputs by name, in floats where the file's inputs are quantized.
        signature: the signature to run.
    """
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # A delegate would not keep the tensors within its partitions.
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Warning: Enabling `experimental_preserve_all_tensors`")
        interpreter = Interpreter(
            model_content=file, experimental_preserve_all_tensors=True, experimental_op_resolver_type=resolver
        )
    runner = interpreter.get_signature_runner(signature)
    graph, details = runner._subgraph_index, runner.get_input_details()
    count = schema.Model.GetRootAs(bytearray(file), 0).Subgraphs(graph).TensorsLength()  # kernels add buffers behind them
    values: dict[str, list[Array]] = {}
    for call in calls:
        runner(**{name: as_taken(details[name], array) for name, array in call.items()})
        for tensor in interpreter.get_tensor_details(graph)[:count]:
            try:
                flat = interpreter.get_tensor(tensor["index"], graph).ravel()
            except ValueError:  # no memory of its own
                continue
            values.setdefault(tensor["name"], []).append(_in_floats(tensor, _drawn(flat)))
    return {name: np.concatenate(parts) for name, parts in values.items()}


def _in_floats(tensor: Mapping[str, Any], values: Array) -> Array:
    """Return the values that the integers of a quantized activation stand for, in float64; others unchanged."""
    scale, zero = tensor["quantization"]
    return (values.astype(np.float64) - zero) * scale if scale and values.dtype == np.int8 else values


def _drawn(values: Array) -> Array:
    """Return a part of many values, drawn at random: at equal distances, they could all be of one channel."""
    if values.size <= _VALUES:
        return values
    drawn = values[np.random.default_rng(0).integers(0, values.size, _VALUES)]
    return np.append(drawn, [values.min(), values.max()])
