"""Convolutions of integers answer as PyTorch's, exactly, where a detour over floats would round."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from tests.bundler.converters.native.oracle import native

CASES: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ("Conv", (2, 3, 6), (4, 3, 3), {"padding": 1}),
    ("Conv", (2, 3, 6, 7), (4, 3, 3, 2), {"padding": 1, "stride": 2}),
    ("Conv", (2, 4, 6, 6), (6, 2, 3, 3), {"groups": 2, "dilation": 2}),
    ("Conv", (2, 4, 5, 5), (4, 1, 3, 3), {"groups": 4}),
    ("Conv", (1, 2, 4, 4, 4), (3, 2, 2, 2, 2), {}),
    ("ConvTranspose", (2, 3, 4), (3, 2, 3), {"stride": 2}),
    ("ConvTranspose", (2, 4, 3, 4), (4, 3, 3, 2), {"stride": 2, "padding": 1, "groups": 2}),
]


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize(("op_type", "size", "kernel", "options"), CASES)
def test_integers_convolve_exactly(
    op_type: str, size: tuple[int, ...], kernel: tuple[int, ...], options: dict[str, Any], dtype: torch.dtype
) -> None:
    """The numbers are around 2^58, or 2^25, so that float64 and float32 would lose their last bits.

    PyTorch has not all of these windows for int32; its sums are those of int64, wrapped around.
    """
    spatial = len(kernel) - 2
    generator = torch.Generator().manual_seed(0)
    limit = 2**58 if dtype is torch.int64 else 2**25
    wide = torch.randint(-limit, limit, size, generator=generator), torch.randint(-5, 6, kernel, generator=generator)
    x, w = (t.to(dtype) for t in wide)
    name = f"conv{'_transpose' if op_type == 'ConvTranspose' else ''}{spatial}d"
    want = getattr(torch.nn.functional, name)(*wide, **options).to(dtype)
    attributes = {"strides": [options.get("stride", 1)] * spatial, "dilations": [options.get("dilation", 1)] * spatial}
    node = helper.make_node(
        op_type, ["x", "w"], ["y"], group=options.get("groups", 1), pads=[options.get("padding", 0)] * 2 * spatial, **attributes
    )
    kind = helper.np_dtype_to_tensor_dtype(x.numpy().dtype)
    declared = [helper.make_tensor_value_info(n, kind, [f"{n}{i}" for i in range(spatial + 2)]) for n in "xw"]
    graph = helper.make_graph([node], "g", declared, [helper.make_tensor_value_info("y", kind, None)])
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    got = native(model)(x=x.numpy(), w=w.numpy())["y"].numpy()
    assert got.dtype == want.numpy().dtype
    np.testing.assert_array_equal(got, want.numpy())
