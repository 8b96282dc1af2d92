"""Cases whose dims have names: axes of one name have one size, and are 0 together; a number is a size that stays."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.bundler.converters.native.oracle import model_of, typed
from tests.zero_sweep.cases import MOST_AXES, SweepCase

SIZES = {
    "batch": 2,
    "length": 5,
    "keys": 7,
    "past": 3,
    "rows": 3,
    "columns": 4,
    "height": 6,
    "width": 8,
    "items": 3,
    "more": 4,
}
"""The sizes of named dims where they are not 0."""


@dataclass(frozen=True)
class Input:
    """An input of a case.

    Attributes:
        dims: names and sizes, such as "batch length 8".
        dtype: its dtype.
        low: for integers, the lowest value.
        high: for integers, the value above the highest.
    """

    dims: str = ""
    dtype: Any = np.float32
    low: int = 0
    high: int = 2

    def names(self) -> list[str | int]:
        """Return the dims; numbers are sizes that stay."""
        return [int(dim) if dim.isdecimal() else dim for dim in self.dims.split()]

    def filled(self, empty: frozenset[str], seed: int) -> Any:
        """Return an array in which these dims are 0."""
        shape = [dim if isinstance(dim, int) else 0 if dim in empty else SIZES[dim] for dim in self.names()]
        rng = np.random.default_rng(seed)
        kind = np.dtype(self.dtype).kind
        if kind == "f":
            return rng.standard_normal(shape).astype(self.dtype)
        if kind == "O":
            return rng.choice(np.array(["a", "b", "?"], object), shape)
        return rng.integers(self.low, self.high, shape).astype(self.dtype)


def declared(
    name: str, operator: str, nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, Input], outputs: Sequence[str],
    constants: Mapping[str, Any] | None = None, *, opset: int = 18, domains: Mapping[str, int] | None = None,
    answer: Callable[..., Sequence[Any]] | None = None, dtype: int = 0,
) -> SweepCase:  # fmt: skip
    """Make a case: every subset of the named dims is 0 in a feed; of more than `MOST_AXES` names, up to two together.

    Args:
        answer: computes the outputs from the inputs by name, where ONNX Runtime has no kernel; then `dtype` is theirs.
        dtype: the dtype of the outputs where neither ONNX nor ONNX Runtime infers it.
    """
    arrays = {key: spec.filled(frozenset(), seed) for seed, (key, spec) in enumerate(inputs.items())}
    dims = {key: spec.names() for key, spec in inputs.items()}
    model = _model(nodes, arrays, outputs, constants, opset, domains, dims, dtype)
    names = list(dict.fromkeys(dim for found in dims.values() for dim in found if isinstance(dim, str)))
    most = len(names) if len(names) <= MOST_AXES else 2
    subsets = [frozenset(s) for count in range(1, most + 1) for s in itertools.combinations(names, count)]
    feeds = [{key: spec.filled(s, n) for n, (key, spec) in enumerate(inputs.items())} for s in subsets]
    expected = None if answer is None else [answer(**feed) for feed in feeds]
    return SweepCase(name, operator, model, feeds, expected)


def _model(
    nodes: Sequence[onnx.NodeProto], arrays: Mapping[str, Any], outputs: Sequence[str], constants: Mapping[str, Any] | None,
    opset: int, domains: Mapping[str, int] | None, dims: Mapping[str, Sequence[str | int]], dtype: int,
) -> onnx.ModelProto:  # fmt: skip
    if not dtype:
        return model_of(nodes, arrays, outputs, constants, opset=opset, domains=domains, dynamic=dims)
    inputs = [
        helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(a.dtype), dims[k]) for k, a in arrays.items()
    ]
    results = [helper.make_tensor_value_info(name, dtype, None) for name in outputs]
    weights = [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    versions = [helper.make_opsetid(*v) for v in {"": opset, **(domains or {})}.items()]
    graph = helper.make_graph(list(nodes), "test", inputs, results, weights)
    return typed(helper.make_model(graph, opset_imports=versions, ir_version=9))
