"""Selection of boxes, and the maxima of regions of interest.

https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html, https://onnx.ai/onnx/operators/onnx__MaxRoiPool.html
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from bundler.converters.native.registry import op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.zero_sizes import at_least_one


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
    scores = at_least_one(scores, [0, 1])  # without a row, map_fn knows no sizes
    missing = tf.where(tf.equal(batches, 0), tf.maximum(1 - tf.shape(corners)[0], 0), 0)
    corners = tf.pad(corners, [[0, missing], [0, 0], [0, 0]])
    divisor = tf.maximum(classes, 1)
    rows = tf.reshape(scores, tf.stack([tf.shape(scores)[0] * divisor, count]))

    def select(row: Tensor) -> tuple[Tensor, Tensor]:
        result = tf.raw_ops.NonMaxSuppressionV4(
            boxes=tf.gather(corners, row // divisor), scores=rows[row], max_output_size=limit, iou_threshold=overlap,
            score_threshold=lowest, pad_to_max_output_size=True,
        )  # fmt: skip
        return result.selected_indices, result.valid_outputs

    signature = (tf.TensorSpec([None], tf.int32), tf.TensorSpec([], tf.int32))
    found, counts = tf.map_fn(select, tf.range(tf.maximum(batches * classes, 1)), fn_output_signature=signature)
    selected, valid = found[: batches * classes], counts[: batches * classes]
    row, position = tf.meshgrid(tf.range(batches * classes), tf.range(limit), indexing="ij")
    table = tf.stack([row // divisor, row % divisor, tf.reshape(selected, tf.shape(row))], -1)
    return tf.cast(tf.boolean_mask(table, position < valid[:, None]), tf.int64)


@op("MaxRoiPool")
def max_roi_pool(x: Tensor, rois: Tensor, *, pooled_shape: Sequence[int], spatial_scale: float = 1.0) -> Tensor:
    """Lower MaxRoiPool: the maxima of the bins of each region [image, x1, y1, x2, y2] of x [N, C, H, W]; 0 for an empty bin.

    The bins are those of Fast R-CNN: corners are rounded, and bins that meet within a pixel share it.
    """
    height, width = tf.shape(x)[2], tf.shape(x)[3]
    corners = tf.cast(tf.floor(rois[:, 1:] * spatial_scale + 0.5), tf.int32)
    rows = _bins(corners[:, 1], corners[:, 3], pooled_shape[0], height)
    columns = _bins(corners[:, 0], corners[:, 2], pooled_shape[1], width)
    images = tf.gather(x, tf.cast(rois[:, 0], tf.int32))
    lowest = x.dtype.min
    by_row = [tf.reduce_max(tf.where(r[:, None, :, None], images, lowest), 2, keepdims=True) for r in rows]
    tall = tf.concat(by_row, 2)
    maxima = tf.concat([tf.reduce_max(tf.where(c[:, None, None, :], tall, lowest), 3, keepdims=True) for c in columns], 3)
    filled = tf.stack([tf.reduce_any(r, 1) for r in rows], 1)[:, None, :, None]
    filled &= tf.stack([tf.reduce_any(c, 1) for c in columns], 1)[:, None, None, :]
    return tf.where(filled, maxima, tf.zeros([], x.dtype))


def _bins(start: Tensor, end: Tensor, count: int, size: Tensor) -> list[Tensor]:
    """Return for each bin a mask [rois, size] of the pixels in it."""
    step = tf.cast(tf.maximum(end - start + 1, 1), tf.float32) / count
    pixels = tf.range(size)[None]
    masks = []
    for number in range(count):
        first = start + tf.cast(tf.floor(step * number), tf.int32)
        last = start + tf.cast(tf.math.ceil(step * (number + 1)), tf.int32)
        masks.append((pixels >= first[:, None]) & (pixels < last[:, None]))
    return masks


def _scalar(x: Tensor, dtype: tf.DType) -> Tensor:
    return tf.cast(tf.reshape(x, []), dtype)


def _corners(boxes: Tensor) -> Tensor:
    """Return two corners of boxes given as center x, center y, width, height."""
    center, size = boxes[..., 1::-1], boxes[..., 3:1:-1]
    return tf.concat([center - size / 2.0, center + size / 2.0], -1)
