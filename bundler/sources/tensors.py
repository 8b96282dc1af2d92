"""Converts torch tensors to NumPy arrays and back; NumPy has no bfloat16, so that of ml_dtypes is used."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import torch
from torch import Tensor

from bundler.errors import SourceError
from bundler.values.arrays import Array
from bundler.values.signature import DTYPES

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def dtype_name(tensor: Tensor) -> str:
    """Return the name of a tensor's dtype, as in a TensorSpec.

    Raises:
        SourceError: a signature does not support the dtype (such as quantized types and complex32).
    """
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise SourceError(
            f"A tensor of the model has the dtype {name}, which a served signature does not support.",
            fix=f"convert it in forward to one of {', '.join(d for d in DTYPES if d != 'string')}",
            code="TFB2007",
        )
    return name


def to_numpy(tensor: Tensor) -> Array:
    """Return an array of the same values, without a copy if possible.

    Raises:
        SourceError: the dtype is not supported.
    """
    dtype_name(tensor)
    plain = tensor.detach().cpu().to_dense() if tensor.layout != torch.strided else tensor.detach().cpu()
    plain = plain.resolve_conj().resolve_neg()
    if plain.dtype == torch.bfloat16:
        return np.asarray(plain.contiguous().view(torch.uint16).numpy().view(BFLOAT16))
    return np.asarray(plain.numpy())


def to_torch(array: Array) -> Tensor:
    """Return a tensor of the same values, in its own memory.

    Raises:
        SourceError: the array contains strings or objects.
    """
    array = np.asarray(array)
    if array.dtype == BFLOAT16:
        return torch.from_numpy(array.view(np.uint16).copy()).view(torch.bfloat16)
    if array.dtype.kind not in "biufc":
        raise SourceError(
            f"PyTorch has no tensors of dtype {array.dtype}.", fix="use numbers or booleans", code="TFB2007"
        )
    return torch.from_numpy(np.array(array, order="C", copy=True))
