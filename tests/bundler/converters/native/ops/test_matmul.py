"""Einsum agrees with PyTorch: ellipses that broadcast or are summed away, repeated letters, outputs that are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper

from tests.bundler.converters.native.oracle import native

EQUATIONS: list[tuple[str, list[tuple[int, ...]]]] = [
    ("...ik, ...j -> ij", [(2, 3, 4), (2, 5)]),
    ("...ik,...j->ij", [(2, 1, 3, 4), (1, 2, 5)]),
    ("i...j->ij", [(2, 3, 4, 5)]),
    ("...i,...i->", [(2, 3), (2, 3)]),
    ("a...,...b->ab", [(3, 2), (2, 4)]),
    ("...i,j->j", [(2, 3), (4,)]),
    ("...ij,...jk->...ik", [(2, 1, 3, 4), (5, 4, 5)]),
    ("...ij,...jk", [(2, 3, 4), (2, 4, 5)]),
    ("...ik,...j", [(2, 3, 4), (2, 5)]),
    ("ba", [(2, 3)]),
    ("ii->i", [(3, 3)]),
    ("...ii->...", [(2, 3, 3)]),
    ("iij,jkk->ik", [(3, 3, 4), (4, 2, 2)]),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
    (",->", [(), ()]),
]


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
@pytest.mark.parametrize(("equation", "shapes"), EQUATIONS)
def test_einsum_agrees_with_pytorch(equation: str, shapes: list[tuple[int, ...]], dtype: Any) -> None:
    generator = np.random.default_rng(0)
    arrays = {f"x{i}": generator.integers(-4, 5, shape).astype(dtype) for i, shape in enumerate(shapes)}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    inputs = [helper.make_tensor_value_info(n, kind, [f"{n}_{i}" for i in range(a.ndim)]) for n, a in arrays.items()]
    node = helper.make_node("Einsum", list(arrays), ["y"], equation=equation)
    graph = helper.make_graph([node], "g", inputs, [helper.make_tensor_value_info("y", kind, None)])
    got = native(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9))(**arrays)["y"].numpy()
    want = torch.einsum(equation, *map(torch.from_numpy, arrays.values())).numpy()
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    np.testing.assert_array_equal(got, want)
