"""Tensors that neither NumPy nor TF Serving can represent."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bundler.errors import SourceError
from bundler.sources.tensors import dtype_name, to_numpy, to_torch


def test_unsupported_dtypes_are_an_error() -> None:
    with pytest.raises(SourceError, match="float8_e4m3fnuz"):
        dtype_name(torch.zeros(2).to(torch.float8_e4m3fnuz))
    with pytest.raises(SourceError, match="PyTorch has no tensors of dtype"):
        to_torch(np.array(["a", "b"]))


def test_sparse_and_conjugate_tensors_become_plain_arrays() -> None:
    np.testing.assert_array_equal(to_numpy(torch.eye(2).to_sparse()), np.eye(2))
    np.testing.assert_array_equal(to_numpy(torch.tensor([1 + 2j]).conj()), [1 - 2j])


def test_tensor_has_its_own_memory() -> None:
    array = np.zeros(2, np.float32)
    to_torch(array)[0] = 1.0
    assert array[0] == 0.0
