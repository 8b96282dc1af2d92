"""Random operators: the statistics of what is drawn, and that runs differ."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import helper

from tests.bundler.converters.native.oracle import Array, model_of, native

ROWS = np.full((100, 200), 0.3, np.float32)


def draw(op_type: str, x: Array = ROWS, **attributes: Any) -> tuple[Array, Array]:
    """Two runs of one node."""
    model = native(model_of([helper.make_node(op_type, ["x"], ["y"], **attributes)], {"x": x}, ["y"], opset=15))
    first, second = (model(x=x)["y"].numpy() for _ in range(2))
    return first, second


def test_normal() -> None:
    first, second = draw("RandomNormalLike", mean=2.0, scale=3.0)
    assert first.dtype == np.float32
    assert first.shape == ROWS.shape
    assert abs(first.mean() - 2.0) < 0.1
    assert abs(first.std() - 3.0) < 0.1
    assert not np.array_equal(first, second)


def test_uniform() -> None:
    first, second = draw("RandomUniformLike", low=-1.0, high=3.0, dtype=11)
    assert first.dtype == np.float64
    assert first.min() >= -1.0
    assert first.max() <= 3.0
    assert abs(first.mean() - 1.0) < 0.05
    assert not np.array_equal(first, second)


def test_bernoulli() -> None:
    first, second = draw("Bernoulli", dtype=9)
    assert first.dtype == np.bool_
    assert abs(first.mean() - 0.3) < 0.02
    assert not np.array_equal(first, second)


def test_multinomial() -> None:
    logits = np.log(np.array([[0.2, 0.5, 0.3]], np.float32))
    first, second = draw("Multinomial", logits, sample_size=20000)
    assert first.dtype == np.int32
    assert first.shape == (1, 20000)
    np.testing.assert_allclose(np.bincount(first[0]) / 20000, [0.2, 0.5, 0.3], atol=0.02)
    assert not np.array_equal(first, second)


def test_dropout_follows_an_input() -> None:
    """In training mode a share is dropped and the rest scaled; else nothing happens."""
    x = np.ones((100, 200), np.float32)
    node = helper.make_node("Dropout", ["x", "ratio", "training"], ["y", "mask"])
    inputs = {"x": x, "ratio": np.array(0.25, np.float32), "training": np.array(True)}
    model = native(model_of([node], inputs, ["y", "mask"], dynamic={"ratio": [], "training": []}))
    result = {k: v.numpy() for k, v in model(**inputs).items()}
    assert abs(result["mask"].mean() - 0.75) < 0.02
    np.testing.assert_allclose(result["y"], result["mask"] / 0.75, rtol=1e-6)
    off = model(**{**inputs, "training": np.array(False)})
    np.testing.assert_array_equal(off["y"].numpy(), x)
    assert off["mask"].numpy().all()
