"""Products are fused only where that is right for all sizes; saved models, in processes with and without oneDNN."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

import bundler
from bundler.converters.native.products import matmul

_ANSWER = """
import sys
import numpy as np, tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
feed = {name: tf.constant(array) for name, array in np.load(sys.argv[2]).items()}
np.save(sys.argv[3], next(iter(served(**feed).values())).numpy())
"""


class Product(torch.nn.Module):
    def forward(self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return torch.addmm(c, a, b)


def served(folder: Path, feed: dict[str, Any], onednn: str) -> Any:
    """Return what a SavedModel answers in a process of its own, with TensorFlow's default optimizers."""
    np.savez(folder / "feed.npz", **feed)
    command = [sys.executable, "-c", _ANSWER, folder / "o/models/m/1", folder / "feed.npz", folder / "answer.npy"]
    done = subprocess.run(command, env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(folder / "answer.npy")


@pytest.mark.slow
@pytest.mark.parametrize("onednn", ["0", "1"])
def test_a_product_over_nothing_is_its_bias(onednn: str, tmp_path: Path) -> None:
    inputs = {"a": torch.rand(2, 3), "b": torch.rand(3, 4), "c": torch.rand(4)}
    dims = ["a=float32[batch,k]", "b=float32[k,4]", "c=float32[4]"]
    bundler.build(Product(), inputs, out=tmp_path / "o", name="m", inputs=dims)
    bias = np.arange(4, dtype=np.float32)
    feed = {"a": np.zeros((2, 0), np.float32), "b": np.zeros((0, 4), np.float32), "c": bias}
    np.testing.assert_array_equal(served(tmp_path, feed, onednn), [bias, bias])


@pytest.mark.slow
@pytest.mark.parametrize("onednn", ["0", "1"])
@pytest.mark.parametrize(
    "module", [torch.nn.Conv2d(2, 5, 3, padding=1), torch.nn.ConvTranspose2d(2, 3, 2, stride=2)], ids=["conv", "transposed"]
)
def test_a_convolution_of_no_rows_has_its_own_channels(module: torch.nn.Module, onednn: str, tmp_path: Path) -> None:
    module.eval()
    example = {"input": torch.rand(2, 2, 6, 7)}
    bundler.build(module, example, out=tmp_path / "o", name="m", inputs=["input=float32[batch,2,6,7]"])
    answer = served(tmp_path, {"input": np.zeros((0, 2, 6, 7), np.float32)}, onednn)
    assert answer.shape == tuple(module(torch.zeros(0, 2, 6, 7)).shape)


def ops(a: list[int | None], b: list[int | None]) -> list[str]:
    with tf.Graph().as_default() as graph:
        matmul(tf.compat.v1.placeholder(tf.float32, a), tf.compat.v1.placeholder(tf.float32, b))
    return [op.type for op in graph.get_operations() if op.type != "Placeholder"]


def test_only_products_of_unknown_sizes_are_kept_from_being_fused() -> None:
    assert ops([None, 3], [3, 4]) == ["MatMul"]
    assert ops([None, None], [3, 4]) == ["MatMul"]
    assert ops([None, None], [None, 4]) == ["MatMul", "EnsureShape"]
    assert ops([2, 3], [3, None]) == ["MatMul", "EnsureShape"]
    assert ops([None, 8, None, 16], [None, 8, 16, None]) == ["BatchMatMulV2"]
    assert ops([None, 8, None, None], [None, 8, None, 16]) == ["BatchMatMulV2", "EnsureShape"]
