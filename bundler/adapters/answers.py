"""Outputs as Classify and Regress want them (servables/tensorflow/classifier.cc and regressor.cc).

classify: `classes`, string, and `scores`, float32, both [batch, classes]. regress: `outputs`, float32 [batch] or [batch, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bundler.adapters.adapter import BATCH
from bundler.errors import UsageError
from bundler.spec.signature_spec import ClassifySpec, RegressSpec
from bundler.values.arrays import Array
from bundler.values.signature import TensorSpec
from serving.client.examples import CLASSIFY, REGRESS

_FLOATS = ("float16", "bfloat16", "float32", "float64")


class ClassifyAdapter:
    """Classes and scores from the output with a number for each class.

    Raises:
        UsageError: no output, or more than one, fits the labels.
    """

    method: str = CLASSIFY

    def __init__(self, name: str, behind: Sequence[TensorSpec], spec: ClassifySpec, labels: tuple[str, ...]) -> None:
        self._labels, self._softmax = labels, spec.softmax
        self._output = _chosen(name, behind, spec.output, lambda one: _entries(one) == len(labels), _classes_rule(labels))
        if spec.top_k is not None and spec.top_k > len(labels):
            raise UsageError(
                f"signatures.{name}.classify.top_k is {spec.top_k}, and there are {len(labels)} labels.",
                fix=f"give at most {len(labels)}, or leave it out for all",
            )
        self._top = spec.top_k
        size = spec.top_k or len(labels)
        self.outputs: tuple[TensorSpec, ...] = (
            TensorSpec("classes", "string", (BATCH, size)),
            TensorSpec("scores", "float32", (BATCH, size)),
        )

    def __call__(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        import tensorflow as tf

        scores = tf.cast(outputs[self._output], tf.float32)
        if self._softmax:
            scores = tf.nn.softmax(scores)
        labels = tf.constant(self._labels)
        if self._top is None:
            return {"classes": tf.repeat(labels[None], tf.shape(scores)[0], axis=0), "scores": scores}
        best = tf.math.top_k(scores, self._top)
        return {"classes": tf.gather(labels, best.indices), "scores": best.values}

    def reference(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        scores = self._scores(outputs)
        labels = np.array(self._labels, dtype=str)
        if self._top is None:
            return {"classes": np.tile(labels, (len(scores), 1)), "scores": scores}
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self._top]
        return {"classes": labels[order], "scores": np.take_along_axis(scores, order, 1)}

    def decided(self, outputs: Mapping[str, Array], tolerance: float) -> Array:
        scores = self._scores(outputs).astype(np.float64)
        if self._top is None or not scores.size:
            return np.ones(len(scores), bool)
        best = -np.sort(-scores, axis=1)[:, : self._top + 1]
        return np.asarray((-np.diff(best, axis=1) > tolerance / 10 * np.abs(scores).max()).all(axis=1))

    def _scores(self, outputs: Mapping[str, Array]) -> Array:
        scores = outputs[self._output].astype(np.float32)
        if not self._softmax:
            return scores
        powers = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


class RegressAdapter:
    """The output with one number a row.

    Raises:
        UsageError: no output, or more than one, has one.
    """

    method: str = REGRESS

    def __init__(self, name: str, behind: Sequence[TensorSpec], spec: RegressSpec) -> None:
        rule = "one number a row, [batch] or [batch, 1]"
        self._output = _chosen(name, behind, spec.output, lambda one: one.dims[1:] in ((), (1,)), rule)
        dims = next(one.dims[1:] for one in behind if one.name == self._output)
        self.outputs: tuple[TensorSpec, ...] = (TensorSpec("outputs", "float32", (BATCH, *dims)),)

    def __call__(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        import tensorflow as tf

        return {"outputs": tf.cast(outputs[self._output], tf.float32)}

    def reference(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"outputs": outputs[self._output].astype(np.float32)}

    def decided(self, outputs: Mapping[str, Array], tolerance: float) -> Array:
        return np.ones(len(outputs[self._output]), bool)


def _classes_rule(labels: tuple[str, ...]) -> str:
    return f"a number for each of the {len(labels)} labels, [batch, {len(labels)}]"


def _entries(spec: TensorSpec) -> int | None:
    last = spec.dims[-1] if len(spec.dims) == 2 else None
    return last if isinstance(last, int) else None


def _is_batch_of_floats(spec: TensorSpec) -> bool:
    return bool(spec.dims) and not isinstance(spec.dims[0], int) and spec.dtype in _FLOATS


def _chosen(
    name: str, behind: Sequence[TensorSpec], wanted: str | None, fits: Callable[[TensorSpec], bool], rule: str
) -> str:
    """The output that fits, and is the wanted one."""
    listed = ", ".join(map(str, behind))
    if wanted is not None and wanted not in [spec.name for spec in behind]:
        raise UsageError(f"The signature {name!r} is to answer from the output {wanted!r}.", fix=f"one of: {listed}")
    found = [
        spec.name
        for spec in behind
        if wanted in (None, spec.name) and _is_batch_of_floats(spec) and fits(spec)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"The signature {name!r} wants {rule}, and several outputs have it: {', '.join(found)}.",
            fix=f"choose one, e.g. output: {found[0]}",
        )
    which = f"the output {wanted!r} does not have it" if wanted else "no output has it"
    raise UsageError(f"The signature {name!r} wants {rule}, and {which}.", fix=f"the outputs are {listed}")
