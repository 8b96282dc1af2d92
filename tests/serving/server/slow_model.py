"""SavedModels whose requests choose how long they take, for tests of draining and time limits."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf


class Spinner(tf.Module):
    """`serving_default(turns=int32[]) -> y=float32[]`: multiply matrices `turns` times, then return `mark`."""

    def __init__(self, mark: float) -> None:
        super().__init__()
        self.mark = tf.Variable(mark)

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="turns")])
    def spin(self, turns: tf.Tensor) -> dict[str, tf.Tensor]:
        matrix = tf.while_loop(
            lambda turn, _: turn < turns,
            lambda turn, m: (turn + 1, tf.tanh(tf.matmul(m, m))),
            (tf.constant(0), tf.eye(200)),
        )[1]
        return {"y": self.mark + 0.0 * tf.reduce_sum(matrix)}


class RowSpinner(tf.Module):
    """`serving_default(turns=int32[?]) -> y=float32[?]`: a model that can be batched; the row with most turns counts."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="turns")])
    def spin(self, turns: tf.Tensor) -> dict[str, tf.Tensor]:
        most = tf.reduce_max(turns)
        matrix = tf.while_loop(
            lambda turn, _: turn < most,
            lambda turn, m: (turn + 1, tf.tanh(tf.matmul(m, m))),
            (tf.constant(0), tf.eye(200)),
        )[1]
        return {"y": tf.cast(turns, tf.float32) + 0.0 * tf.reduce_sum(matrix)}


def save_row_spinner(path: Path) -> None:
    module = RowSpinner()
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.spin})


def save_spinner(path: Path, mark: float) -> None:
    module = Spinner(mark)
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.spin})
