"""Merge the arrays of many requests, and split the results (batching/batching_session.cc, batching_util.cc)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from serving.protocol.status import failed_precondition, invalid_argument
from serving.protocol.tensors import Array
from serving.server.batching.queue import Batch

_MAX_PADDED_RANK = 6


def count_rows(feeds: Mapping[str, Array]) -> int:
    """Return the number of rows, the size of the first dim that all arrays of a request share.

    Raises:
        StatusError: INVALID_ARGUMENT: there is no array, one is a scalar, or their sizes differ.
    """
    if not feeds:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    sizes = []
    for array in feeds.values():
        if not array.ndim:
            raise invalid_argument("Batching Run() input tensors must have at least one dimension")
        sizes.append(array.shape[0])
        if sizes[0] != sizes[-1]:
            raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return int(sizes[0])


def merge(batch: Batch, rows: int, *, pads_lengths: bool) -> dict[str, Array]:
    """Concatenate the arrays of a batch's tasks and pad them with copies of the last task's first row.

    Args:
        batch: the tasks.
        rows: rows after padding.
        pads_lengths: whether arrays with different further dims are padded, each with its own first value, or fail.

    Returns:
        Tensor name -> array with `rows` rows.

    Raises:
        StatusError: FAILED_PRECONDITION or INVALID_ARGUMENT: the arrays cannot be concatenated.
    """
    merged = {}
    for name in batch.tasks[0].feeds:
        arrays = [task.feeds[name] for task in batch.tasks]
        if len(arrays) > 1 and any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
            arrays = _same_shapes(name, arrays, pads_lengths=pads_lengths)
        if rows > batch.rows:
            arrays.append(np.repeat(arrays[-1][:1], rows - batch.rows, axis=0))
        merged[name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return merged


def _same_shapes(name: str, arrays: Sequence[Array], *, pads_lengths: bool) -> list[Array]:
    if not pads_lengths:
        raise failed_precondition(
            f"Tensors with name '{name}' from different tasks have different shapes and padding is turned off. "
            "Set pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal "
            "dimensions starting with the first dim."
        )
    ranks = {array.ndim for array in arrays}
    if len(ranks) > 1:
        # The real server reads past the end of a vector here.
        raise invalid_argument(f"Tensors with name '{name}' from different tasks have different ranks.")
    if max(ranks) > _MAX_PADDED_RANK:
        raise invalid_argument("Only tensors with rank from 1 to 6 can be padded.")
    largest = np.max([array.shape for array in arrays], axis=0)
    return [padded(array, largest.tolist()) for array in arrays]


def padded(array: Array, largest: Sequence[int]) -> Array:
    """Pad an array of one request at its ends with its own first value, so that all but the first size are those of `largest`.

    This is the rule of pad_variable_length_inputs (tensorflow_serving/batching/batching_util.cc, AddPadding).

    Raises:
        StatusError: INVALID_ARGUMENT: the array is empty.
    """
    widths = [(0, 0), *((0, most - size) for most, size in zip(largest[1:], array.shape[1:], strict=True))]
    if not any(after for _, after in widths):
        return array
    if not array.size:
        raise invalid_argument("Got empty tensor in batch of non-empty tensors.")
    return np.pad(array, widths, constant_values=array.flat[0])


def split(batch: Batch, rows: int, outputs: Sequence[Array]) -> list[list[Array]]:
    """Split the outputs of a batch into those of its tasks.

    Args:
        batch: the tasks.
        rows: rows of the batch, padding included.
        outputs: arrays with `rows` rows.

    Returns:
        For each task, its part of each output.

    Raises:
        StatusError: FAILED_PRECONDITION: an output does not have one row per row of the inputs.
    """
    for output in outputs:
        if not output.ndim:
            raise failed_precondition("Batched output tensor has 0 dimensions")
        if output.shape[0] != rows:
            raise failed_precondition(
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                "input tensors"
            )
    ends = np.cumsum([task.rows for task in batch.tasks])
    return [[output[end - task.rows : end] for output in outputs] for task, end in zip(batch.tasks, ends, strict=True)]
