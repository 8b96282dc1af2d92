"""Support vector machines of ai.onnx.ml, compared with ONNX Runtime."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bundler.converters.native.ops.onnx_ml import ROWS, TRANSFORMS, assert_op_agrees
from tests.bundler.converters.native.oracle import array


def machine(classes: int, kernel: str) -> dict[str, Any]:
    count, pairs = 2 * classes, classes * (classes - 1) // 2
    return {
        "kernel_type": kernel, "kernel_params": [0.2, 0.3, 2.0], "support_vectors": array(count * 4, seed=2).tolist(),
        "coefficients": array((classes - 1) * count, seed=3).tolist(), "rho": array(pairs, seed=4).tolist(),
    }  # fmt: skip


def platt(classes: int) -> dict[str, Any]:
    pairs = classes * (classes - 1) // 2
    return {"prob_a": (-0.5 - abs(array(pairs, seed=5))).tolist(), "prob_b": array(pairs, seed=6).tolist()}


@pytest.mark.parametrize("kernel", ["LINEAR", "POLY", "RBF", "SIGMOID"])
def test_svm_kernels(kernel: str) -> None:
    model = machine(2, kernel)
    assert_op_agrees("SVMRegressor", ROWS, n_supports=4, **model)
    assert_op_agrees("SVMRegressor", ROWS, n_supports=4, one_class=1, **model)
    assert_op_agrees("SVMClassifier", ROWS, outputs=2, classlabels_ints=[4, 9], vectors_per_class=[2, 2], **model)


@pytest.mark.parametrize("transform", TRANSFORMS[:3])
@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
def test_svm_classes(classes: int, fitted: bool, transform: str) -> None:
    assert_op_agrees(
        "SVMClassifier", ROWS, outputs=2, classlabels_strings=[f"c{i}" for i in range(classes)],
        vectors_per_class=[2] * classes, post_transform=transform, **machine(classes, "RBF"),
        **(platt(classes) if fitted else {}),
    )  # fmt: skip


def test_linear_svm_regressor() -> None:
    assert_op_agrees(
        "SVMRegressor", ROWS, coefficients=[0.1, 0.2, 0.3, 0.4], rho=[0.5], kernel_type="LINEAR",
        kernel_params=[0.0, 0.0, 0.0],
    )  # fmt: skip
