"""BatchNorm of half precision in an export: it computes in float32 and rounds once, as PyTorch's does.

torch's exporter scales the weights of the convolution before a BatchNorm by the norm's factor and rounds them again. That is
exact enough in float32. In half precision these errors are the same at every position of an image, so that a pooling does not
average them out as it does those of the data: a ResNeSt was 5 times as far from float32 as PyTorch. Casts around the norm keep
the two apart, here and in `bundler.graph.fold_batch_norm`.

Source: https://onnx.ai/onnx/operators/onnx__BatchNormalization.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch

from bundler.graph.in_float32 import HALF_TYPES


def translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return the entry of BatchNorm in evaluation mode for the `custom_translation_table` of torch.onnx.export."""
    return {torch.ops.aten._native_batch_norm_legit_no_training.default: _batch_norm}


def _batch_norm(
    data: Any, weight: Any, bias: Any, mean: Any, variance: Any, momentum: float, eps: float
) -> tuple[Any, Any, Any]:
    """Write `aten::_native_batch_norm_legit_no_training`; ONNX's momentum is 1 minus PyTorch's."""
    from onnxscript import opset18

    op: Any = opset18  # its annotations are those of eager mode

    def wide(value: Any) -> Any:
        return op.Cast(value, to=ir.DataType.FLOAT.value) if value.dtype in HALF_TYPES else value

    def filled(number: float) -> Any:
        return op.Expand(op.Constant(value_float=number), op.Shape(mean))

    normal = op.BatchNormalization(
        wide(data), filled(1.0) if weight is None else wide(weight), filled(0.0) if bias is None else wide(bias),
        wide(mean), wide(variance), epsilon=eps, momentum=1.0 - momentum,
    )  # fmt: skip
    result = op.Cast(normal, to=data.dtype.value) if data.dtype in HALF_TYPES else normal
    return result, op.Identity(mean), op.Identity(variance)
