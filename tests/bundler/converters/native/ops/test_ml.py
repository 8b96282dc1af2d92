"""Features and labels of ai.onnx.ml, compared with ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.bundler.converters.native.ops.onnx_ml import ROWS, assert_op_agrees
from tests.bundler.converters.native.oracle import Array, array, model_of, native


def texts(*words: str) -> Array:
    return np.array(words, object)


def test_scaler() -> None:
    assert_op_agrees("Scaler", ROWS, offset=[1.0, 2.0, 3.0, 4.0], scale=[0.5, 0.2, 3.0, 1.0])
    assert_op_agrees("Scaler", np.arange(12).reshape(3, 4), offset=[1.0], scale=[0.5])


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_normalizer(norm: str) -> None:
    assert_op_agrees("Normalizer", np.array([[-3, -1, -2], [0, 0, 0], [1, -2, 4]], np.float32), norm=norm)


def test_imputer() -> None:
    holes = ROWS.copy()
    holes[2, 1] = holes[0, 3] = np.nan
    assert_op_agrees("Imputer", holes, imputed_value_floats=[1.0, 2.0, 3.0, 4.0], replaced_value_float=np.nan)
    assert_op_agrees(
        "Imputer", np.array([[1, -1], [-1, 5]], np.int64), imputed_value_int64s=[7], replaced_value_int64=-1
    )


def test_feature_vectorizer() -> None:
    assert_op_agrees("FeatureVectorizer", ROWS, array(6, 2, seed=1), inputdimensions=[4, 2])
    assert_op_agrees("FeatureVectorizer", ROWS, array(6, 2, seed=1), inputdimensions=[3, 3])


def test_one_hot_encoder() -> None:
    assert_op_agrees("OneHotEncoder", np.array([[1, 7], [3, 9]], np.int64), cats_int64s=[7, 3, 1])
    assert_op_agrees("OneHotEncoder", texts("b", "a", "?"), cats_strings=["a", "b", "c"])


def test_one_hot_encoder_may_reject_unknown_categories() -> None:
    node = helper.make_node("OneHotEncoder", ["x"], ["y"], domain="ai.onnx.ml", cats_int64s=[1, 2], zeros=0)
    known = np.array([[1], [2]], np.int64)
    model = native(model_of([node], {"x": known}, ["y"], domains={"ai.onnx.ml": 3}))
    np.testing.assert_array_equal(model(x=known)["y"].numpy(), [[[1, 0]], [[0, 1]]])
    with pytest.raises(Exception, match="unknown category"):
        model(x=known + 1)


def test_category_mapper() -> None:
    table: dict[str, Any] = {"cats_int64s": [10, 20, 30], "cats_strings": ["x", "y", "z"]}
    assert_op_agrees("CategoryMapper", texts("z", "?", "x"), default_int64=-7, **table)
    assert_op_agrees("CategoryMapper", np.array([[30, 5], [10, 20]], np.int64), default_string="none", **table)


def test_label_encoder() -> None:
    assert_op_agrees(
        "LabelEncoder", texts("b", "?", "a"), version=2, keys_strings=["a", "b"], values_floats=[1.5, 2.5]
    )
    assert_op_agrees(
        "LabelEncoder", np.array([3, 8, 1], np.int64), version=2, keys_int64s=[1, 3], values_strings=["one", "three"]
    )
    holes = np.array([[2.0, np.nan], [7.0, 1.0]], np.float32)
    assert_op_agrees("LabelEncoder", holes, keys_floats=[1.0, np.nan, 2.0], values_int64s=[5, 6, 7], version=4)
    assert_op_agrees("LabelEncoder", texts("b", "?"), version=1, classes_strings=["a", "b"], default_int64=9)
    assert_op_agrees("LabelEncoder", np.array([1, 4], np.int64), version=1, classes_strings=["a", "b"])
