"""Tree ensembles of ai.onnx.ml, compared with ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from bundler.errors import ConversionError
from tests.bundler.converters.native.ops.onnx_ml import ROWS, TRANSFORMS, assert_op_agrees
from tests.bundler.converters.native.oracle import model_of, native

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


@pytest.mark.sample(3)
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
