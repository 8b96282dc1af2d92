"""Output adapters for the Classify and Regress APIs (tensorflow_serving/servables/tensorflow/classifier.cc and regressor.cc).

- classify: `classes`, string, and `scores`, float32, both [batch, classes].
- regress: `outputs`, float32 [batch] or [batch, 1].
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
    """Returns class labels and scores from the output that has one score per class.

    Args:
        name: the derived signature.
        base_outputs: outputs of the base signature.
        spec: the `classify` section of the signature's spec.
        labels: the class labels, in the order of the scores.

    Raises:
        UsageError: no output, or more than one, fits the labels, or `top_k` exceeds the number of labels.
    """

    method: str = CLASSIFY

    def __init__(self, name: str, base_outputs: Sequence[TensorSpec], spec: ClassifySpec, labels: tuple[str, ...]) -> None:
        self._labels, self._softmax = labels, spec.softmax
        requirement = f"one score for each of the {len(labels)} labels, [batch, {len(labels)}]"
        self._output = _select_output(
            name, base_outputs, spec.output, lambda output: _class_count(output) == len(labels), requirement
        )
        if spec.top_k is not None and spec.top_k > len(labels):
            raise UsageError(
                f"signatures.{name}.classify.top_k is {spec.top_k}, but there are only {len(labels)} labels.",
                fix=f"set top_k to at most {len(labels)}, or omit it to return all classes",
                code="TFB1303",
            )
        self._top_k = spec.top_k
        size = spec.top_k or len(labels)
        self.outputs: tuple[TensorSpec, ...] = (
            TensorSpec("classes", "string", (BATCH, size)),
            TensorSpec("scores", "float32", (BATCH, size)),
        )

    def __call__(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return `classes` and `scores` as tensors."""
        import tensorflow as tf

        scores = tf.cast(outputs[self._output], tf.float32)
        if self._softmax:
            scores = tf.nn.softmax(scores)
        labels = tf.constant(self._labels)
        if self._top_k is None:
            return {"classes": tf.repeat(labels[None], tf.shape(scores)[0], axis=0), "scores": scores}
        best = tf.math.top_k(scores, self._top_k)
        return {"classes": tf.gather(labels, best.indices), "scores": best.values}

    def reference(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return `classes` and `scores` for PyTorch's outputs, computed in NumPy."""
        scores = self._scores(outputs)
        labels = np.array(self._labels, dtype=str)
        if self._top_k is None:
            return {"classes": np.tile(labels, (len(scores), 1)), "scores": scores}
        order = np.argsort(-scores, axis=1, kind="stable")[:, : self._top_k]
        return {"classes": labels[order], "scores": np.take_along_axis(scores, order, 1)}

    def stable_rows(self, outputs: Mapping[str, Array], margin: float) -> Array:
        """Return a mask of the rows whose top_k labels cannot change within the margin (see `OutputAdapter`)."""
        scores = self._scores(outputs).astype(np.float64)
        if self._top_k is None or not scores.size:
            return np.ones(len(scores), bool)
        best = -np.sort(-scores, axis=1)[:, : self._top_k + 1]
        return np.asarray((-np.diff(best, axis=1) > margin * np.abs(scores).max()).all(axis=1))

    def _scores(self, outputs: Mapping[str, Array]) -> Array:
        scores = outputs[self._output].astype(np.float32)
        if not self._softmax:
            return scores
        exponentials = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)


class RegressAdapter:
    """Returns the output that has one number per row.

    Args:
        name: the derived signature.
        base_outputs: outputs of the base signature.
        spec: the `regress` section of the signature's spec.

    Raises:
        UsageError: no output, or more than one, has one number per row.
    """

    method: str = REGRESS

    def __init__(self, name: str, base_outputs: Sequence[TensorSpec], spec: RegressSpec) -> None:
        requirement = "one number per row, [batch] or [batch, 1]"
        self._output = _select_output(
            name, base_outputs, spec.output, lambda output: output.dims[1:] in ((), (1,)), requirement
        )
        dims = next(output.dims[1:] for output in base_outputs if output.name == self._output)
        self.outputs: tuple[TensorSpec, ...] = (TensorSpec("outputs", "float32", (BATCH, *dims)),)

    def __call__(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return `outputs` as a float32 tensor."""
        import tensorflow as tf

        return {"outputs": tf.cast(outputs[self._output], tf.float32)}

    def reference(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return `outputs` for PyTorch's outputs, as float32."""
        return {"outputs": outputs[self._output].astype(np.float32)}

    def stable_rows(self, outputs: Mapping[str, Array], tolerance: float) -> Array:
        """Return True for every row: a regression has no labels."""
        return np.ones(len(outputs[self._output]), bool)


def _class_count(spec: TensorSpec) -> int | None:
    last = spec.dims[-1] if len(spec.dims) == 2 else None
    return last if isinstance(last, int) else None


def _is_batch_of_floats(spec: TensorSpec) -> bool:
    return bool(spec.dims) and not isinstance(spec.dims[0], int) and spec.dtype in _FLOATS


def _select_output(
    name: str,
    base_outputs: Sequence[TensorSpec],
    requested: str | None,
    fits: Callable[[TensorSpec], bool],
    requirement: str,
) -> str:
    """Return the name of the one output that fits and, if `requested` is set, has that name."""
    listed = ", ".join(map(str, base_outputs))
    if requested is not None and requested not in [spec.name for spec in base_outputs]:
        raise UsageError(
            f"The signature {name!r} uses the output {requested!r}, which does not exist.",
            fix=f"choose one of: {listed}",
            code="TFB1301",
        )
    candidates = [
        spec.name
        for spec in base_outputs
        if requested in (None, spec.name) and _is_batch_of_floats(spec) and fits(spec)
    ]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise UsageError(
            f"The signature {name!r} needs {requirement}; several outputs fit: {', '.join(candidates)}.",
            fix=f"choose one, e.g. output: {candidates[0]}",
            code="TFB1301",
        )
    mismatch = f"the output {requested!r} does not fit" if requested else "no output fits"
    raise UsageError(
        f"The signature {name!r} needs {requirement}, but {mismatch}.",
        fix=f"give the model such an output; it has {listed}",
        code="TFB1302",
    )
