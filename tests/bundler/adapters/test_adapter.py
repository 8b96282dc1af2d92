"""Helpers that adapters share."""

from __future__ import annotations

import numpy as np
import pytest

from bundler.adapters.adapter import AdapterCall, batch_size, byte_strings, check_batched
from bundler.errors import UsageError
from bundler.values.signature import TensorSpec


def test_error_names_a_tensor_without_a_dynamic_batch() -> None:
    check_batched("photo", [TensorSpec("x", "float32", ("batch", 3)), TensorSpec("y", "float32", (None,))], "input")
    with pytest.raises(UsageError, match=r"'photo' takes one string per row, but .* input z=float32\[4,n\]") as info:
        check_batched("photo", [TensorSpec("z", "float32", (4, "n"))], "input")
    assert info.value.fix == "declare it with a batch, e.g. --input 'z=float32[batch,n]'"


def test_batch_size_ignores_scalars() -> None:
    call = AdapterCall("example", {"scalar": np.array(7), "rows": np.zeros((5, 2))}, {})
    assert batch_size(call) == 5


def test_byte_strings_keep_trailing_zero_bytes() -> None:
    assert byte_strings([b"a\0\0", b""]).tolist() == [b"a\0\0", b""]
