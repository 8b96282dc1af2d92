"""Calls of kernels on tensors with more axes than they take.

Most kernels of TensorFlow and LiteRT are written for up to some number of axes: a SavedModel or .tflite file with more of them
loads, and its first request fails. docs/kernel_limits.md has the numbers by kernel. Neighbouring axes that a kernel treats alike
are one axis to it, so these functions merge them before the call and split them after it, also where sizes are known only at run
time. Tensors with few axes are passed to the kernel as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from bundler.converters.native import products
from bundler.converters.native.context import Target
from bundler.converters.native.tensors import Tensor, transpose

Size: TypeAlias = Any
"""A size: an int if it is known, otherwise an int64 scalar."""

MOST_AXES: Mapping[Target, int] = {"serving": 5, "tflite": 8}
"""The axes along which operands are broadcast; TensorFlow's kernels merge those that are alike before they count."""

_WHOLE = 8
"""The axes of operands before any are merged: SelectV2 merges none."""

SLICE_AXES: Mapping[Target, int] = {"serving": 8, "tflite": 6}
"""The axes that StridedSlice takes."""

TRANSPOSED_AXES: Mapping[Target, int] = {"serving": 254, "tflite": 6}
"""The axes that Transpose takes."""

REDUCED_AXES: Mapping[Target, int] = {"serving": 254, "tflite": 6}
"""The axes that reductions take; XNNPACK's have a limit."""

_CONCATENATED_AXES: Mapping[Target, int] = {"serving": 254, "tflite": 6}
_PRODUCT_AXES: Mapping[Target, int] = {"serving": 254, "tflite": 5}

MOST_COORDINATES = 7
"""The coordinates per element that GatherNd and TensorScatterUpdate take."""


def exceeds(x: Tensor, most: int) -> bool:
    """Whether a tensor has more than `most` axes. A tensor whose rank is known only at run time is left to the kernel."""
    return x.shape.rank is not None and x.shape.rank > most


def sizes_of(x: Tensor) -> list[Size]:
    """Return the sizes of a tensor, known ones as ints."""
    known = x.shape.as_list()
    if None not in known:
        return list(known)
    shape = tf.shape(x, out_type=tf.int64)
    return [shape[axis] if size is None else size for axis, size in enumerate(known)]


def joined(sizes: Sequence[Size]) -> Size:
    """Return the product of sizes."""
    result: Size = 1
    for size in sizes:
        result = result * size
    return result


def shape_of(sizes: Sequence[Size]) -> Any:
    """Return sizes in the form tf.reshape takes."""
    if all(isinstance(size, int) for size in sizes):
        return list(sizes)
    return tf.stack([tf.cast(size, tf.int64) for size in sizes])


def reshaped(x: Tensor, sizes: Sequence[Size]) -> Tensor:
    """Reshape a tensor; the result's known sizes are static."""
    known = [size if isinstance(size, int) else None for size in sizes]
    if x.shape.rank == len(sizes) and None not in known and x.shape.as_list() == known:
        return x
    result = tf.reshape(x, shape_of(sizes))
    result.set_shape(known)
    return result


def around(x: Tensor, axis: int) -> tuple[Tensor, list[Size]]:
    """Return x as [before, axis, after] with the other axes merged, and the sizes of x."""
    sizes = sizes_of(x)
    return reshaped(x, [joined(sizes[:axis]), sizes[axis], joined(sizes[axis + 1 :])]), sizes


def along(compute: Callable[[Tensor, int], Tensor], x: Tensor, axis: int, most: int) -> Tensor:
    """Apply `compute(x, axis)`, which treats one axis, takes at most `most` axes and keeps the shape."""
    if not exceeds(x, most):
        return compute(x, axis)
    block, sizes = around(x, axis % x.shape.rank)
    return reshaped(compute(block, 1), sizes)


def rows(x: Tensor) -> tuple[Tensor, list[Size]]:
    """Return x as [rows, last axis], and the sizes of x."""
    sizes = sizes_of(x)
    return reshaped(x, [joined(sizes[:-1]), sizes[-1]]), sizes


def kept_and_reduced(x: Tensor, axes: Sequence[int]) -> tuple[Tensor, list[Size]]:
    """Return x as a matrix [other axes, `axes`], for a reduction over `axes`, and the sizes of x."""
    sizes, kept = sizes_of(x), [axis for axis in range(x.shape.rank) if axis not in axes]
    moved = transpose(x, [*kept, *axes])
    return reshaped(moved, [joined([sizes[axis] for axis in group]) for group in (kept, axes)]), sizes


def reduced(
    compute: Callable[..., Tensor], x: Tensor, axes: Sequence[int], most: int, *, keepdims: bool
) -> Tensor:
    """Reduce x over axes by `compute(x, axes, keepdims)`, which takes at most `most` axes."""
    if x.shape.rank <= most:
        return compute(x, list(axes), keepdims)
    sizes, groups = sizes_of(x), _alike([axis in axes for axis in range(x.shape.rank)])
    if len(groups) <= most:
        view = reshaped(x, [joined([sizes[axis] for axis in group]) for group in groups])
        result = compute(view, [place for place, group in enumerate(groups) if group[0] in axes], True)
    else:
        result = compute(kept_and_reduced(x, axes)[0], [1], True)
    left = [1 if axis in axes else size for axis, size in enumerate(sizes) if keepdims or axis not in axes]
    return reshaped(result, left)


def _alike(kinds: Sequence[bool]) -> list[list[int]]:
    """Return runs of neighbouring axes of one kind."""
    groups: list[list[int]] = []
    for axis, kind in enumerate(kinds):
        if groups and kinds[groups[-1][-1]] == kind:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def with_one_coordinate(data: Tensor, coordinates: Tensor) -> tuple[Tensor, Tensor]:
    """Merge the axes of data that coordinates [..., depth] select from; return it and the coordinates [..., 1] in it.

    Coordinates outside of data become -1, which the kernels refuse.
    """
    depth = coordinates.shape[-1]
    sizes = sizes_of(data)
    lengths = tf.cast(shape_of(sizes[:depth]), coordinates.dtype)
    strides = tf.math.cumprod(lengths, exclusive=True, reverse=True)
    flat = tf.reshape(coordinates, [-1, depth])
    inside = tf.reduce_all(tf.logical_and(flat >= 0, flat < lengths), -1)
    place = tf.where(inside, tf.reduce_sum(flat * strides, -1), tf.constant(-1, coordinates.dtype))
    places = reshaped(place, [*sizes_of(coordinates)[:-1], 1])
    return reshaped(data, [joined(sizes[:depth]), *sizes[depth:]]), places


def by_axes(
    x: Tensor, axes: Sequence[int], compute: Callable[[Tensor, Mapping[int, int]], Tensor], most: int
) -> Tensor:
    """Apply an operation that treats each axis on its own, a few axes at a time.

    Args:
        x: the tensor.
        axes: the axes that the operation changes.
        compute: applies it to a view of x with at most `most` axes; its second argument maps some of `axes` to the view's.
            All other axes keep their sizes.
        most: how many axes the kernel takes, at least 3.
    """
    rank = x.shape.rank
    if rank <= most:
        return compute(x, {axis: axis for axis in axes})
    remaining = sorted(axes)
    while remaining:
        count = 1
        while count < len(remaining) and len(_groups(rank, remaining[: count + 1])) <= most:
            count += 1
        x = _on_view(x, remaining[:count], compute)
        remaining = remaining[count:]
    return x


def _groups(rank: int, single: Sequence[int]) -> list[list[int]]:
    """Return runs of neighbouring axes; each axis of `single` is a run of its own."""
    groups: list[list[int]] = []
    for axis in range(rank):
        if groups and axis not in single and groups[-1][-1] not in single:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    return groups


def _on_view(x: Tensor, axes: Sequence[int], compute: Callable[[Tensor, Mapping[int, int]], Tensor]) -> Tensor:
    groups = _groups(x.shape.rank, axes)
    places = {group[0]: place for place, group in enumerate(groups) if group[0] in axes}
    sizes = sizes_of(x)
    result = compute(reshaped(x, [joined([sizes[axis] for axis in group]) for group in groups]), places)
    changed = sizes_of(result)
    return reshaped(result, [changed[places[axis]] if axis in places else size for axis, size in enumerate(sizes)])


def merged(x: Tensor, single: Sequence[int]) -> tuple[Tensor, dict[int, int], list[Size]]:
    """Return x with all axes but `single` merged with their neighbours, the places of `single` in it, and the sizes of x."""
    groups, sizes = _groups(x.shape.rank, single), sizes_of(x)
    places = {group[0]: place for place, group in enumerate(groups) if group[0] in single}
    return reshaped(x, [joined([sizes[axis] for axis in group]) for group in groups]), places, sizes


# -- operations that treat each axis on its own ------------------------------------------------------------------------


def sliced(x: Tensor, slices: Sequence[slice], target: Target) -> Tensor:
    """Return x[slices], with one slice per axis."""

    def compute(view: Tensor, places: Mapping[int, int]) -> Tensor:
        window = [slice(None)] * view.shape.rank
        for axis, place in places.items():
            window[place] = slices[axis]
        taken = view[tuple(window)]
        taken.set_shape([None] * view.shape.rank)  # not known to TensorFlow if a step is computed
        return taken

    if x.shape.rank <= SLICE_AXES[target]:
        return x[tuple(slices)]
    axes = [axis for axis, s in enumerate(slices) if any(bound is not None for bound in (s.start, s.stop, s.step))]
    return by_axes(x, axes, compute, SLICE_AXES[target])


def padded(x: Tensor, pairs: Any, target: Target, mode: str = "CONSTANT", value: Any = 0) -> Tensor:
    """Pad x by pairs of numbers [before, after], ints or an int tensor [rank, 2]."""
    reflects = mode == "REFLECT"
    most = {"serving": 5 if reflects else 6, "tflite": 254 if reflects else 5}[target]
    if not exceeds(x, most):
        return tf.pad(x, pairs, mode, constant_values=value)

    def compute(view: Tensor, places: Mapping[int, int]) -> Tensor:
        chosen: list[Any] = [[0, 0]] * view.shape.rank
        for axis, place in places.items():
            chosen[place] = [pairs[axis][0], pairs[axis][1]]
        return tf.pad(view, chosen, mode, constant_values=value)

    axes = [a for a in range(x.shape.rank) if tf.is_tensor(pairs) or any(tf.is_tensor(n) or n for n in pairs[a])]
    return by_axes(x, axes, compute, most)


def broadcast_to(x: Tensor, sizes: Sequence[Size], target: Target = "serving") -> Tensor:
    """Broadcast x to sizes: ints, or int64 scalars."""
    most = MOST_AXES[target]
    if len(sizes) <= most:
        return tf.broadcast_to(x, shape_of(sizes))
    for _ in range(len(sizes) - x.shape.rank):
        x = tf.expand_dims(x, 0)
    current = x.shape.as_list()

    def compute(view: Tensor, places: Mapping[int, int]) -> Tensor:
        wanted = sizes_of(view)
        for axis, place in places.items():
            wanted[place] = sizes[axis]
        return tf.broadcast_to(view, shape_of(wanted))

    axes = [a for a, size in enumerate(sizes) if current[a] is None or not isinstance(size, int) or current[a] != size]
    result = by_axes(x, axes, compute, most)
    result.set_shape([size if isinstance(size, int) else None for size in sizes])
    return result


def concatenated(tensors: Sequence[Tensor], axis: int, target: Target) -> Tensor:
    """Concatenate tensors of equal rank along an axis."""
    if not exceeds(tensors[0], _CONCATENATED_AXES[target]):
        return tf.concat(tensors, axis)
    blocks, sizes = zip(*(around(x, axis) for x in tensors), strict=True)
    joint = tf.concat(blocks, 1)
    return reshaped(joint, [*sizes[0][:axis], sizes_of(joint)[1], *sizes[0][axis + 1 :]])


def product(a: Tensor, b: Tensor, target: Target, **swapped: bool) -> Tensor:
    """Multiply stacks of matrices [..., M, K] and [..., K, N], whose leading axes are broadcast; `swapped` as in tf.matmul."""
    rank = max(a.shape.rank, b.shape.rank)
    if rank <= _PRODUCT_AXES[target]:
        return products.matmul(a, b, **swapped)
    stacks = [([1] * (rank - x.shape.rank) + sizes_of(x))[:-2] for x in (a, b)]
    batch = [_common_size(pair) for pair in zip(*stacks, strict=True)]
    flat = [reshaped(broadcast_to(x, [*batch, *sizes_of(x)[-2:]], target), [joined(batch), *sizes_of(x)[-2:]]) for x in (a, b)]
    result = products.matmul(*flat, **swapped)
    return reshaped(result, [*batch, *sizes_of(result)[1:]])


# -- operations on operands that are broadcast -------------------------------------------------------------------------


def elementwise(compute: Callable[..., Tensor], *tensors: Tensor, target: Target = "serving") -> Tensor:
    """Call a function whose every output element depends on the elements of the (broadcast) tensors at its place."""
    operands, sizes = merged_operands(tensors, target)
    result = compute(*operands)
    return result if sizes is None else reshaped(result, sizes)


def merged_operands(
    tensors: Sequence[Tensor | None], target: Target
) -> tuple[list[Tensor | None], list[Size] | None]:
    """Merge the axes of operands that are broadcast against each other as far as the kernels need it.

    Axes are merged where each operand is either whole or broadcast along all of them. If too many axes remain, because operands
    are broadcast along alternate axes or sizes are not known, the operands are broadcast first and flattened.

    Args:
        tensors: the operands, of known rank; None for one that is left out. Those without axes stay as they are.
        target: what the graph is for.

    Returns:
        The operands, and the sizes that the result is to be given; None if the operands are unchanged.
    """
    present = [x for x in tensors if x is not None]
    rank = max((x.shape.rank or 0 for x in present), default=0)
    if rank <= MOST_AXES[target] or any(x.shape.rank is None for x in present):
        return list(tensors), None
    whole = [x for x in present if x.shape.rank]
    groups = _broadcast_groups([_widened_sizes(x, rank) for x in whole], rank)
    few = len(groups) <= MOST_AXES[target]
    if few and rank <= _WHOLE:
        return list(tensors), None
    sizes = _common_sizes(whole, rank)

    def operand(x: Tensor | None) -> Tensor | None:
        if x is None or not x.shape.rank:
            return x
        if not few:
            return reshaped(broadcast_to(x, sizes, target), [joined(sizes)])
        own = [1] * (rank - x.shape.rank) + sizes_of(x)
        return reshaped(x, [joined([own[axis] for axis in group]) for group in groups])

    return [operand(x) for x in tensors], sizes


def _widened_sizes(x: Tensor, rank: int) -> list[int | None]:
    return [*[1] * (rank - x.shape.rank), *x.shape.as_list()]


def _broadcast_groups(shapes: Sequence[Sequence[int | None]], rank: int) -> list[list[int]]:
    """Return runs of neighbouring axes along which each operand is whole, or each has size 1."""
    groups: list[list[int]] = []
    kind: tuple[bool, ...] | None = None
    for axis in range(rank):
        sizes = [shape[axis] for shape in shapes]
        if groups and all(size == 1 for size in sizes):
            groups[-1].append(axis)
            continue
        certain = len(shapes) == 1 or None not in sizes
        current = tuple(size == 1 for size in sizes) if certain and len(shapes) > 1 else (False,) if certain else None
        if groups and current is not None and current == kind:
            groups[-1].append(axis)
        else:
            groups.append([axis])
            kind = current
    return groups


def _common_sizes(tensors: Sequence[Tensor], rank: int) -> list[Size]:
    """Return the sizes to which tensors are broadcast."""
    columns = zip(*([1] * (rank - x.shape.rank) + sizes_of(x) for x in tensors), strict=True)
    return [_common_size(column) for column in columns]


def _common_size(sizes: Sequence[Size]) -> Size:
    known = [size for size in sizes if isinstance(size, int) and size != 1]
    if known:
        return known[0]
    result: Size = 1
    for size in (size for size in sizes if not isinstance(size, int)):
        result = size if isinstance(result, int) else tf.where(tf.equal(result, 1), size, result)
    return result
