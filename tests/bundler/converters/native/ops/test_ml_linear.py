"""Linear models of ai.onnx.ml, compared with ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.bundler.converters.native.ops.onnx_ml import ROWS, TRANSFORMS, assert_op_agrees
from tests.bundler.converters.native.oracle import array


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_linear_models(transform: str) -> None:
    weights, offsets = array(12, seed=1).tolist(), [0.1, -0.2, 0.3]
    options: dict[str, Any] = {"coefficients": weights, "intercepts": offsets, "post_transform": transform}
    assert_op_agrees("LinearRegressor", ROWS, targets=3, **options)
    assert_op_agrees("LinearClassifier", ROWS, outputs=2, classlabels_ints=[5, 3, 8], **options)
    two = {"coefficients": weights[:4], "intercepts": offsets[:1], "post_transform": transform}
    assert_op_agrees("LinearRegressor", ROWS, **two)
    assert_op_agrees("LinearClassifier", ROWS, outputs=2, classlabels_strings=["no", "yes"], **two)


def test_probit() -> None:
    """ONNX Runtime approximates the inverse of erf to three digits."""
    shares = np.array([[0.2, 0.7], [0.5, 0.9]], np.float32)
    assert_op_agrees(
        "LinearRegressor", shares, coefficients=[1.0, 0.0, 0.0, 1.0], targets=2, post_transform="PROBIT", rtol=1e-3
    )
