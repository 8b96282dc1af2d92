"""Random operators: their statistics, differences between runs, and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from onnx import TensorProto, helper

from bundler.errors import ConversionError
from tests.bundler.converters.native.oracle import Array, model_of, native

ROWS = np.full((100, 200), 0.3, np.float32)


def draw(op_type: str, x: Array = ROWS, **attributes: Any) -> tuple[Array, Array]:
    """Return the results of two runs of a node."""
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


def test_dropout_trains_only_if_its_input_is_true() -> None:
    """In training mode a share of the elements is dropped and the rest is scaled; otherwise nothing changes."""
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


def test_dropout_drops_half_by_default() -> None:
    x = np.ones((100, 200), np.float32)
    node = helper.make_node("Dropout", ["x", "", "training"], ["y", "mask"], seed=3)
    inputs = {"x": x, "training": np.array(True)}
    models = [native(model_of([node], inputs, ["y", "mask"], dynamic={"training": []})) for _ in range(2)]
    first, second = (model(**inputs)["mask"].numpy() for model in models)
    assert abs(first.mean() - 0.5) < 0.02
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, models[0](**inputs)["mask"].numpy())


def test_dropout_that_always_trains_is_rejected() -> None:
    node = helper.make_node("Dropout", ["x", "ratio", "training"], ["y"])
    constants = {"ratio": np.array(0.25, np.float32), "training": np.array(True)}
    with pytest.raises(ConversionError, match=r"(?s)training mode.*model.eval"):
        native(model_of([node], {"x": ROWS}, ["y"], constants))


SHAPED = {"RandomNormal": {"mean": 2.0, "scale": 3.0}, "RandomUniform": {"low": -1.0, "high": 3.0}}
MOMENTS = {"RandomNormal": (2.0, 3.0), "RandomUniform": (1.0, 4 / np.sqrt(12))}
"""Mean and standard deviation."""


def shaped(op_type: str, dtype: int = TensorProto.FLOAT, **attributes: Any) -> Any:
    """Return a model whose output `drawn` comes from a node without inputs."""
    nodes = [
        helper.make_node(op_type, [], ["drawn"], shape=[100, 200], dtype=dtype, **SHAPED[op_type], **attributes),
        helper.make_node("Identity", ["x"], ["same"]),
    ]
    return native(model_of(nodes, {"x": np.zeros(1, np.float32)}, ["drawn", "same"], opset=22))


def run(model: Any) -> Array:
    result: Array = model(x=np.zeros(1, np.float32))["drawn"].numpy()
    return result


@pytest.mark.parametrize("op_type", list(SHAPED))
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_shape_and_dtype_are_attributes(op_type: str, dtype: int) -> None:
    model = shaped(op_type, dtype)
    first, second = run(model), run(model)
    assert first.dtype == helper.tensor_dtype_to_np_dtype(dtype)
    assert first.shape == (100, 200)
    mean, deviation = MOMENTS[op_type]
    assert abs(first.astype(np.float64).mean() - mean) < 0.1
    assert abs(first.astype(np.float64).std() - deviation) < 0.1
    if op_type == "RandomUniform":
        assert -1.0 <= first.min() <= first.max() <= 3.0
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("op_type", list(SHAPED))
def test_a_seed_reproduces_the_draws_in_a_new_model(op_type: str) -> None:
    """The draws of each run are the same in every new model; other seeds give other draws."""
    first, second = shaped(op_type, seed=5.0), shaped(op_type, seed=5.0)
    draws = [run(first) for _ in range(2)]
    for drawn in draws:
        np.testing.assert_array_equal(run(second), drawn)
    assert not np.array_equal(*draws)
    for other in (6.0, 4.5, 5.0000005):
        assert not np.array_equal(run(shaped(op_type, seed=other)), draws[0]), other


def test_nodes_without_a_seed_draw_independently() -> None:
    nodes = [helper.make_node("RandomNormalLike", ["x"], [name]) for name in "ab"]
    result = native(model_of(nodes, {"x": ROWS}, ["a", "b"]))(x=ROWS)
    a, b = (result[k].numpy().reshape(-1) for k in "ab")
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.05


def test_outcomes_with_certainty() -> None:
    x = np.array([[0.0, 1.0]] * 500, np.float32)
    first, _ = draw("Bernoulli", x)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, x)
    logits = np.array([[-200.0, 0.0, -200.0]], np.float32)
    first, _ = draw("Multinomial", logits, sample_size=50, dtype=TensorProto.INT64)
    assert first.dtype == np.int64
    assert (first == 1).all()


def test_a_saved_model_draws_new_numbers_in_every_run(tmp_path: Path) -> None:
    model = native(model_of([helper.make_node("RandomUniformLike", ["x"], ["y"])], {"x": ROWS}, ["y"]))
    model.save(tmp_path / "1")
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    first, second = (loaded.signatures["serving_default"](x=tf.constant(ROWS))["y"].numpy() for _ in range(2))
    assert abs(first.mean() - 0.5) < 0.02
    assert not np.array_equal(first, second)
