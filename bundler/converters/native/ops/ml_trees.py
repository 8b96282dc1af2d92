"""Ensembles of decision trees (domain ai.onnx.ml).

https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html

All trees are walked at once for all rows, one level per step. The nodes are a table, and each row has a current node in each
tree. A leaf leads to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from bundler.converters.native.ops.ml import ML
from bundler.converters.native.ops.ml_linear import as_rows, labels_of, post_transformed, two_scores
from bundler.converters.native.registry import op
from bundler.converters.native.tensors import Tensor
from bundler.values.arrays import Array

_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER", "LEAF")
"""In the order of TreeEnsemble's nodes_modes."""
_MEMBER, _LEAF = _MODES.index("BRANCH_MEMBER"), _MODES.index("LEAF")
_COMPARISONS = (tf.less_equal, tf.less, tf.greater_equal, tf.greater, tf.equal, tf.not_equal)
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")


class Forest(NamedTuple):
    """The nodes of all trees, by index.

    Attributes:
        modes: index into _MODES, by node.
        features: the column that a node tests.
        splits: the number that it compares with.
        true: the next node if the test holds.
        false: the next node otherwise.
        missing_true: whether the test holds for NaN.
        roots: the first node of each tree.
        members: the set of each BRANCH_MEMBER node, [nodes, M], NaN after its last member.
    """

    modes: Array
    features: Array
    splits: Array
    true: Array
    false: Array
    missing_true: Array
    roots: Array
    members: Array | None = None


class Payload(NamedTuple):
    """The weights of the leaves [nodes, K], and whether a node has a weight for a target [nodes, K]."""

    weights: Array
    has_weight: Array


def _depth(forest: Forest) -> int:
    """Return the number of steps from a root to the deepest leaf.

    Raises:
        ValueError: a branch leads to a node that does not exist, or back to an earlier node.
    """
    size = len(forest.modes)
    if len(forest.roots) == 0 or min(forest.true.min(), forest.false.min(), forest.roots.min()) < 0:
        raise ValueError("it has no trees, or a branch to a node that does not exist")
    if max(forest.true.max(), forest.false.max(), forest.roots.max()) >= size:
        raise ValueError("a branch leads to a node that does not exist")
    level, depth = np.unique(forest.roots), 0
    while len(level := level[forest.modes[level] != _LEAF]):
        level = np.unique(np.concatenate([forest.true[level], forest.false[level]]))
        depth += 1
        if depth > size:
            raise ValueError("its trees have a cycle")
    return depth


def _leaves(forest: Forest, x: Tensor) -> Tensor:
    """Return the leaf that each row of x [N, C] reaches in each tree, [N, T]."""
    start = tf.tile(tf.constant(forest.roots[None], tf.int32), [tf.shape(x)[0], 1])
    true, false, features = (tf.constant(a, tf.int32) for a in (forest.true, forest.false, forest.features))

    def step(at: Tensor) -> tuple[Tensor]:
        value = tf.gather(x, tf.gather(features, at), batch_dims=1)
        return (tf.where(_goes_true(forest, at, value), tf.gather(true, at), tf.gather(false, at)),)

    shape = tf.TensorShape([x.shape[0], len(forest.roots)])
    depth = _depth(forest)
    return tf.while_loop(lambda _: True, step, (start,), (shape,), maximum_iterations=depth)[0] if depth else start


def _goes_true(forest: Forest, at: Tensor, value: Tensor) -> Tensor:
    """Return whether the rows' values satisfy the test of their current nodes."""
    split = tf.gather(tf.constant(forest.splits, value.dtype), at)
    used = sorted(set(forest.modes.tolist()) - {_LEAF})
    modes = tf.gather(tf.constant(forest.modes, tf.int32), at) if len(used) > 1 else None
    result = tf.zeros_like(at, tf.bool)
    for mode in used:
        holds = _is_member(forest, at, value) if mode == _MEMBER else _COMPARISONS[mode](value, split)
        result = holds if modes is None else tf.where(tf.equal(modes, mode), holds, result)
    if forest.missing_true.any():
        tracks = tf.gather(tf.constant(forest.missing_true), at)
        result = tf.logical_or(result, tf.logical_and(tf.math.is_nan(value), tracks))
    return result


def _is_member(forest: Forest, at: Tensor, value: Tensor) -> Tensor:
    sets = tf.gather(tf.constant(forest.members, value.dtype), at)
    return tf.reduce_any(tf.equal(sets, value[..., None]), -1)


def _aggregated(forest: Forest, payload: Payload, x: Tensor, base: Array, how: str = "SUM") -> Tensor:
    """Aggregate the trees' weights by target and add base; returns [N, K]. A target for which no leaf has a weight is zero."""
    leaves = _leaves(forest, x)
    if how in ("MIN", "MAX"):
        never = np.array(np.inf if how == "MIN" else -np.inf, payload.weights.dtype)
        weights = tf.gather(tf.constant(np.where(payload.has_weight, payload.weights, never)), leaves)
        result = tf.reduce_min(weights, 1) if how == "MIN" else tf.reduce_max(weights, 1)
    else:
        weights = tf.gather(tf.constant(payload.weights), leaves)
        result = tf.reduce_sum(weights, 1) / (len(forest.roots) if how == "AVERAGE" else 1)
    result += tf.constant(base, result.dtype)
    leaf = forest.modes == _LEAF
    if payload.has_weight[leaf].all():
        return result
    scored = tf.reduce_any(tf.gather(tf.constant(payload.has_weight), leaves), 1)
    return tf.where(scored, result, tf.zeros_like(result))


# -- the flat attributes of TreeEnsembleRegressor and TreeEnsembleClassifier ------------------------------------------


def _forest(
    trees: Sequence[int], nodes: Sequence[int], features: Sequence[int], splits: Array, modes: Sequence[str],
    true: Sequence[int], false: Sequence[int], missing_true: Sequence[int] | None,
) -> Forest:  # fmt: skip
    """Build the table of nodes; node ids, which count within a tree, become indices of the table."""
    index = {key: i for i, key in enumerate(zip(trees, nodes, strict=True))}
    kinds = np.array([_MODES.index(m) for m in modes])
    to_true, to_false = (
        np.array([i if kinds[i] == _LEAF else index[t, n] for i, (t, n) in enumerate(zip(trees, ids, strict=True))])
        for ids in (true, false)
    )
    inner = kinds != _LEAF
    below = set(to_true[inner].tolist()) | set(to_false[inner].tolist())
    roots = [i for i in range(len(kinds)) if i not in below]
    missing = np.asarray(missing_true or [0] * len(kinds), bool)
    return Forest(kinds, np.asarray(features), splits, to_true, to_false, missing, np.array(roots))


def _payload(
    trees: Sequence[int], nodes: Sequence[int], node_trees: Sequence[int], node_ids: Sequence[int], targets: Sequence[int],
    weights: Array, count: int,
) -> Payload:  # fmt: skip
    index = {key: i for i, key in enumerate(zip(node_trees, node_ids, strict=True))}
    table = np.zeros((len(index), count), weights.dtype)
    has_weight = np.zeros(table.shape, bool)
    rows = [index[key] for key in zip(trees, nodes, strict=True)]
    np.add.at(table, (rows, list(targets)), weights)
    has_weight[rows, list(targets)] = True
    return Payload(table, has_weight)


def _tensor_or_floats(tensor: Array | None, floats: Sequence[float] | None) -> Array:
    """Return the numbers of an attribute; version 3 has them as a tensor, which may be float64."""
    return tensor if tensor is not None else np.asarray(floats or (), np.float32)


def _rows(x: Tensor, splits: Array) -> Tensor:
    """Return x as rows in float32; in float64 if the splits or x are float64."""
    return as_rows(x, tf.float64 if splits.dtype == np.float64 or x.dtype == tf.float64 else tf.float32)


@op("TreeEnsembleRegressor", domain=ML)
def tree_ensemble_regressor(
    x: Tensor, *, aggregate_function: str = "SUM", base_values: Sequence[float] | None = None,
    base_values_as_tensor: Array | None = None, n_targets: int = 1, nodes_falsenodeids: Sequence[int],
    nodes_featureids: Sequence[int], nodes_hitrates: Any = None, nodes_hitrates_as_tensor: Any = None,
    nodes_missing_value_tracks_true: Sequence[int] | None = None, nodes_modes: Sequence[str], nodes_nodeids: Sequence[int],
    nodes_treeids: Sequence[int], nodes_truenodeids: Sequence[int], nodes_values: Sequence[float] | None = None,
    nodes_values_as_tensor: Array | None = None, post_transform: str = "NONE", target_ids: Sequence[int],
    target_nodeids: Sequence[int], target_treeids: Sequence[int], target_weights: Sequence[float] | None = None,
    target_weights_as_tensor: Array | None = None,
) -> Tensor:  # fmt: skip
    """Lower TreeEnsembleRegressor: float32 [N, targets]."""
    splits = _tensor_or_floats(nodes_values_as_tensor, nodes_values)
    forest = _forest(
        nodes_treeids, nodes_nodeids, nodes_featureids, splits, nodes_modes, nodes_truenodeids, nodes_falsenodeids,
        nodes_missing_value_tracks_true,
    )  # fmt: skip
    payload = _payload(
        target_treeids, target_nodeids, nodes_treeids, nodes_nodeids, target_ids,
        _tensor_or_floats(target_weights_as_tensor, target_weights), n_targets,
    )  # fmt: skip
    base = _base(_tensor_or_floats(base_values_as_tensor, base_values), n_targets)
    sums = _aggregated(forest, payload, _rows(x, splits), base, aggregate_function)
    return tf.cast(post_transformed(sums, post_transform), tf.float32)


def _base(values: Array, count: int) -> Array:
    """Return the base values [count]; zeros if there are none.

    Raises:
        ValueError: there are some, but not one per target.
    """
    if values.size not in (0, count):
        raise ValueError(f"it has {values.size} base_values for {count} targets")
    return values if values.size else np.zeros(count, np.float32)


@op("TreeEnsembleClassifier", domain=ML)
def tree_ensemble_classifier(
    x: Tensor, *, base_values: Sequence[float] | None = None, base_values_as_tensor: Array | None = None,
    class_ids: Sequence[int], class_nodeids: Sequence[int], class_treeids: Sequence[int],
    class_weights: Sequence[float] | None = None, class_weights_as_tensor: Array | None = None,
    classlabels_int64s: Sequence[int] | None = None, classlabels_strings: Sequence[str] | None = None,
    nodes_falsenodeids: Sequence[int], nodes_featureids: Sequence[int], nodes_hitrates: Any = None,
    nodes_hitrates_as_tensor: Any = None, nodes_missing_value_tracks_true: Sequence[int] | None = None,
    nodes_modes: Sequence[str], nodes_nodeids: Sequence[int], nodes_treeids: Sequence[int],
    nodes_truenodeids: Sequence[int], nodes_values: Sequence[float] | None = None,
    nodes_values_as_tensor: Array | None = None, post_transform: str = "NONE",
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Lower TreeEnsembleClassifier: labels [N] and float32 scores [N, classes].

    With two labels and weights for only one class, that class's score alone decides, as in ONNX Runtime.
    """
    splits = _tensor_or_floats(nodes_values_as_tensor, nodes_values)
    weights = _tensor_or_floats(class_weights_as_tensor, class_weights)
    forest = _forest(
        nodes_treeids, nodes_nodeids, nodes_featureids, splits, nodes_modes, nodes_truenodeids, nodes_falsenodeids,
        nodes_missing_value_tracks_true,
    )  # fmt: skip
    count = len(classlabels_strings or classlabels_int64s or ())
    if count < 2:
        raise ValueError("it has fewer than two labels")
    base = _tensor_or_floats(base_values_as_tensor, base_values)
    single = class_ids[0] if count == 2 and len(set(class_ids)) == 1 else None
    ids, width = (class_ids, count) if single is None else ([0] * len(class_ids), 1)
    payload = _payload(class_treeids, class_nodeids, nodes_treeids, nodes_nodeids, ids, weights, width)
    if single is None:  # every class has a score, even if it is only its base value
        payload = payload._replace(has_weight=np.ones_like(payload.has_weight))
    scores = tf.cast(_aggregated(forest, payload, _rows(x, splits), _base(base, width)), tf.float32)
    if single is None:
        winner, shown = tf.argmax(scores, 1), post_transformed(scores, post_transform)
    else:
        winner, shown = _of_one_class(scores, single, post_transform, shares=bool((weights >= 0).all()))
    return labels_of(winner, classlabels_int64s, classlabels_strings), shown


def _of_one_class(score: Tensor, which: int, transform: str, *, shares: bool) -> tuple[Tensor, Tensor]:
    """Return the winner [N] and scores [N, 2] from the only score [N, 1].

    Args:
        score: the score.
        which: the class that it belongs to.
        transform: the node's post_transform.
        shares: whether the weights are shares of one, as they are if none is negative.
    """
    winner = tf.cast(score[:, 0] > (0.5 if shares else 0.0), tf.int64)
    if which == 0:
        return winner, two_scores(score, transform, centred=not shares)
    return winner, post_transformed(tf.concat([tf.zeros_like(score), score], 1), transform)


# -- TreeEnsemble, since version 5 -----------------------------------------------------------------------------------


@op("TreeEnsemble", domain=ML)
def tree_ensemble(
    x: Tensor, *, aggregate_function: int = 1, leaf_targetids: Sequence[int], leaf_weights: Array,
    membership_values: Array | None = None, n_targets: int, nodes_falseleafs: Sequence[int],
    nodes_falsenodeids: Sequence[int], nodes_featureids: Sequence[int], nodes_hitrates: Any = None,
    nodes_missing_value_tracks_true: Sequence[int] | None = None, nodes_modes: Array, nodes_splits: Array,
    nodes_trueleafs: Sequence[int], nodes_truenodeids: Sequence[int], post_transform: int = 0, tree_roots: Sequence[int],
) -> Tensor:  # fmt: skip
    """Lower TreeEnsemble: [N, targets] in x's dtype. Leaves follow the inner nodes in the table; each has one target."""
    inner, leaves = len(nodes_featureids), len(leaf_targetids)
    leaf_nodes = np.arange(inner, inner + leaves)
    to_true, to_false = (
        np.concatenate([np.where(is_leaf, np.add(ids, inner), ids), leaf_nodes])
        for ids, is_leaf in ((nodes_truenodeids, nodes_trueleafs), (nodes_falsenodeids, nodes_falseleafs))
    )
    missing = np.asarray(nodes_missing_value_tracks_true or [0] * inner, bool)
    modes = np.concatenate([nodes_modes.astype(int), np.full(leaves, _LEAF)])
    forest = Forest(
        modes, _with_leaves(nodes_featureids, leaves), _with_leaves(nodes_splits, leaves), to_true, to_false,
        _with_leaves(missing, leaves), np.asarray(tree_roots), _sets(membership_values, modes),
    )  # fmt: skip
    weights = np.zeros((inner + leaves, n_targets), leaf_weights.dtype)
    weights[leaf_nodes, list(leaf_targetids)] = leaf_weights
    has_weight = np.zeros(weights.shape, bool)
    has_weight[leaf_nodes, list(leaf_targetids)] = True
    base = np.zeros(n_targets, leaf_weights.dtype)
    result = _aggregated(forest, Payload(weights, has_weight), as_rows(x, x.dtype), base, _AGGREGATES[aggregate_function])
    return tf.cast(post_transformed(result, _TRANSFORMS[post_transform]), x.dtype)


def _with_leaves(array: Any, count: int) -> Array:
    """Append zeros for the leaves."""
    return np.concatenate([np.asarray(array), np.zeros(count, np.asarray(array).dtype)])


def _sets(values: Array | None, modes: Array) -> Array | None:
    """Return the sets of the BRANCH_MEMBER nodes, [nodes, M]; `values` holds them in order, each ended by a NaN."""
    if values is None:
        return None
    ends = np.flatnonzero(np.isnan(values))
    sets = np.split(values, ends + 1)[: len(ends)]
    table = np.full((len(modes), max(map(len, sets), default=1)), np.nan, values.dtype)
    for node, members in zip(np.flatnonzero(modes == _MEMBER), sets, strict=True):
        table[node, : len(members)] = members
    return table
