"""Selection of boxes: NonMaxSuppression.

https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html
"""

from __future__ import annotations

import tensorflow as tf

from bundler.converters.native.registry import op
from bundler.converters.native.tensors import Tensor


@op("NonMaxSuppression", since=10)
def non_max_suppression(
    boxes: Tensor, scores: Tensor, max_output_boxes_per_class: Tensor | None = None,
    iou_threshold: Tensor | None = None, score_threshold: Tensor | None = None, *, center_point_box: int = 0,
) -> Tensor:  # fmt: skip
    """Lower NonMaxSuppression: boxes [B, N, 4] and scores [B, C, N] give [selected, 3], indices of batch, class and box.

    The result is ordered by batch, class and descending score.
    """
    corners = _corners(boxes) if center_point_box else boxes
    batches, classes, count = (tf.shape(scores)[i] for i in range(3))
    limit = tf.constant(0) if max_output_boxes_per_class is None else _scalar(max_output_boxes_per_class, tf.int64)
    limit = tf.cast(tf.minimum(tf.cast(limit, tf.int64), tf.cast(count, tf.int64)), tf.int32)
    overlap = tf.constant(0.0) if iou_threshold is None else _scalar(iou_threshold, tf.float32)
    lowest = tf.constant(float("-inf")) if score_threshold is None else _scalar(score_threshold, tf.float32)
    rows = tf.reshape(scores, [batches * classes, count])

    def select(row: Tensor) -> tuple[Tensor, Tensor]:
        result = tf.raw_ops.NonMaxSuppressionV4(
            boxes=tf.gather(corners, row // classes), scores=rows[row], max_output_size=limit, iou_threshold=overlap,
            score_threshold=lowest, pad_to_max_output_size=True,
        )  # fmt: skip
        return result.selected_indices, result.valid_outputs

    signature = (tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32))
    selected, valid = tf.map_fn(select, tf.range(batches * classes), fn_output_signature=signature)
    row, position = tf.meshgrid(tf.range(batches * classes), tf.range(limit), indexing="ij")
    table = tf.stack([row // classes, row % classes, tf.reshape(selected, tf.shape(row))], -1)
    return tf.cast(tf.boolean_mask(table, position < valid[:, None]), tf.int64)


def _scalar(x: Tensor, dtype: tf.DType) -> Tensor:
    return tf.cast(tf.reshape(x, []), dtype)


def _corners(boxes: Tensor) -> Tensor:
    """Return two corners of boxes given as center x, center y, width, height."""
    center, size = boxes[..., 1::-1], boxes[..., 3:1:-1]
    return tf.concat([center - size / 2.0, center + size / 2.0], -1)
