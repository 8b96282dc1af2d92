"""Operators of ai.onnx.ml compared with ONNX Runtime: features, labels, linear models, support vectors and trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from bundler.errors import ConversionError
from tests.bundler.converters.native.oracle import Array, array, assert_agrees, model_of, native

ROWS = array(6, 4)


def assert_op_agrees(
    op_type: str, *inputs: Array, outputs: int = 1, version: int = 3, rtol: float = 1e-4, **attributes: Any
) -> None:
    """Compare a node with ONNX Runtime, at this batch size and at twice that."""
    arrays = {f"x{i}": x for i, x in enumerate(inputs)}
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, list(arrays), results, domain="ai.onnx.ml", **attributes)
    model = model_of([node], arrays, results, domains={"ai.onnx.ml": version})
    twice = {k: np.concatenate([v, v[::-1]]) for k, v in arrays.items()}
    assert_agrees(model, arrays, twice, rtol=rtol)


def texts(*words: str) -> Array:
    return np.array(words, object)


# -- features and labels -----------------------------------------------------------------------------------------------


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


# -- linear models -----------------------------------------------------------------------------------------------------

TRANSFORMS = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"]


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


# -- support vector machines -------------------------------------------------------------------------------------------


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


# -- trees -------------------------------------------------------------------------------------------------------------


Leaves = list[tuple[int, int]]
"""Leaves as (tree, node)."""


def random_forest(
    depth: int, trees: int = 3, modes: tuple[str, ...] = ("BRANCH_LEQ",)
) -> tuple[dict[str, Any], Leaves]:
    """Return the attributes of full trees over 4 columns, and their leaves."""
    rng = np.random.default_rng(depth)
    size, inner = 2 ** (depth + 1) - 1, 2**depth - 1
    nodes = [(t, n) for t in range(trees) for n in range(size)]
    branches = [n < inner for _, n in nodes]
    attributes = {
        "nodes_treeids": [t for t, _ in nodes], "nodes_nodeids": [n for _, n in nodes],
        "nodes_featureids": rng.integers(0, 4, len(nodes)).tolist(),
        "nodes_values": rng.standard_normal(len(nodes)).astype(np.float32).tolist(),
        "nodes_modes": [modes[i % len(modes)] if b else "LEAF" for i, b in enumerate(branches)],
        "nodes_truenodeids": [2 * n + 1 if b else 0 for (_, n), b in zip(nodes, branches, strict=True)],
        "nodes_falsenodeids": [2 * n + 2 if b else 0 for (_, n), b in zip(nodes, branches, strict=True)],
    }  # fmt: skip
    return attributes, [node for node, b in zip(nodes, branches, strict=True) if not b]


def leaf_weights(leaves: Leaves, kind: str, ids: list[int], *, low: float = -1.0) -> dict[str, Any]:
    """Return a weight for each leaf, for the targets (or classes) `ids` in turn."""
    weights = np.random.default_rng(7).uniform(low, 1.0, len(leaves)).astype(np.float32)
    return {
        f"{kind}_treeids": [t for t, _ in leaves], f"{kind}_nodeids": [n for _, n in leaves],
        f"{kind}_ids": [ids[i % len(ids)] for i in range(len(leaves))], f"{kind}_weights": weights.tolist(),
    }  # fmt: skip


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_tree_regressor(aggregate: str) -> None:
    nodes, leaves = random_forest(3)
    assert_op_agrees(
        "TreeEnsembleRegressor", ROWS, aggregate_function=aggregate, n_targets=1, base_values=[0.5], **nodes,
        **leaf_weights(leaves, "target", [0]),
    )  # fmt: skip
    assert_op_agrees(
        "TreeEnsembleRegressor", ROWS, aggregate_function=aggregate, n_targets=3, base_values=[0.5, 0.1, 0.2], **nodes,
        **leaf_weights(leaves, "target", [0, 1, 2]),
    )  # fmt: skip


def test_tree_modes_and_missing_values() -> None:
    modes = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
    nodes, leaves = random_forest(4, modes=modes)
    nodes["nodes_values"] = np.round(nodes["nodes_values"]).tolist()
    holes = np.round(ROWS)
    holes[1, 2] = holes[4, 0] = np.nan
    tracks = [i % 2 for i in range(len(nodes["nodes_modes"]))]
    assert_op_agrees(
        "TreeEnsembleRegressor", holes, n_targets=1, nodes_missing_value_tracks_true=tracks, **nodes,
        **leaf_weights(leaves, "target", [0]),
    )  # fmt: skip


def test_trees_without_branches() -> None:
    nodes, leaves = random_forest(0)
    assert_op_agrees("TreeEnsembleRegressor", ROWS, n_targets=1, **nodes, **leaf_weights(leaves, "target", [0]))


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_tree_classifier(transform: str) -> None:
    nodes, leaves = random_forest(3)
    options: dict[str, Any] = {"outputs": 2, "post_transform": transform, **nodes}
    three = leaf_weights(leaves, "class", [0, 1, 2])
    assert_op_agrees(
        "TreeEnsembleClassifier", ROWS, classlabels_int64s=[7, 5, 3], base_values=[0.1, 0.2, 0.3], **options, **three
    )
    for which in (0, 1):
        for low in (-1.0, 0.1):
            assert_op_agrees(
                "TreeEnsembleClassifier", ROWS, classlabels_strings=["no", "yes"], **options,
                **leaf_weights(leaves, "class", [which], low=low),
            )  # fmt: skip


def test_a_classifier_of_two_classes_chooses_the_greater_score() -> None:
    """ONNX Runtime returns labels here that the model does not have."""
    nodes, leaves = random_forest(2)
    weights = leaf_weights(leaves * 2, "class", [0])
    weights["class_ids"] = [0] * len(leaves) + [1] * len(leaves)
    node = helper.make_node("TreeEnsembleClassifier", ["x"], ["y", "z"], domain="ai.onnx.ml", classlabels_int64s=[4, 6],
                            **nodes, **weights)  # fmt: skip
    result = native(model_of([node], {"x": ROWS}, ["y", "z"], domains={"ai.onnx.ml": 3}))(x=ROWS)
    scores = result["z"].numpy()
    np.testing.assert_array_equal(result["y"].numpy(), np.where(scores[:, 0] >= scores[:, 1], 4, 6))
    assert len(set(result["y"].numpy())) == 2


def test_cyclic_trees_are_rejected() -> None:
    nodes, leaves = random_forest(2, trees=1)
    nodes["nodes_truenodeids"][1] = 1
    node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **nodes,
                            **leaf_weights(leaves, "target", [0]))  # fmt: skip
    with pytest.raises(ConversionError, match="cycle"):
        native(model_of([node], {"x": ROWS}, ["y"], domains={"ai.onnx.ml": 3}))


@pytest.mark.parametrize("aggregate", range(4))
def test_tree_ensemble(aggregate: int) -> None:
    """There are two trees: x0 <= 0 then x1 in {1, 2} or x1 in {3}; and x2 > 0."""
    assert_op_agrees(
        "TreeEnsemble", np.array([[-1, 1, 0, 0], [-1, 3, 1, 0], [1, 3, -1, 0], [1, 2, 2, 0]], np.float32), version=5,
        aggregate_function=aggregate, n_targets=2, tree_roots=[0, 3], nodes_featureids=[0, 1, 1, 2],
        nodes_modes=helper.make_tensor("modes", 2, [4], [0, 6, 6, 3]),
        nodes_splits=helper.make_tensor("splits", 1, [4], [0.0, 0.0, 0.0, 0.0]),
        membership_values=helper.make_tensor("sets", 1, [5], [1.0, 2.0, np.nan, 3.0, np.nan]),
        nodes_trueleafs=[0, 1, 1, 1], nodes_truenodeids=[1, 0, 2, 4], nodes_falseleafs=[0, 1, 1, 1],
        nodes_falsenodeids=[2, 1, 3, 5], leaf_targetids=[0, 1, 0, 1, 0, 0],
        leaf_weights=helper.make_tensor("weights", 1, [6], [0.5, -1.0, 2.0, 3.0, 0.25, -4.0]),
    )  # fmt: skip
