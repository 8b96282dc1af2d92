"""Reshapes of tensors that are stored in another order than ONNX's: whether the data can stay where they are."""

from __future__ import annotations

from collections.abc import Sequence

from bundler.converters.native.dims import Element
from bundler.converters.native.orders import Order


def reshaped_order(sizes: Sequence[Element], target: Sequence[Element], order: Order) -> Order | None:
    """Return the storage order of the reshaped tensor, or None if the reshape needs ONNX's order.

    A reshape splits and merges runs of neighbouring axes. If each run is stored together and in sequence, the same split or
    merge works on the stored tensor, and the runs keep their positions in storage.
    """
    runs = _runs(sizes, target)
    if runs is None:
        return None
    first_axis = {axes[0]: (axes, outs) for axes, outs in runs if axes}
    if any(not axes for axes, _ in runs):
        return None
    result: list[int] = []
    position = 0
    while position < len(order):
        run = first_axis.get(order[position])
        if run is None:
            return None
        axes, outs = run
        if list(order[position : position + len(axes)]) != list(axes):
            return None
        result += outs
        position += len(axes)
    return tuple(result)


_Run = tuple[list[int], list[int]]


def _runs(sizes: Sequence[Element], target: Sequence[Element]) -> list[_Run] | None:
    """Return pairs of neighbouring input axes and the output axes they become, or None.

    Equal axes are matched from both ends, the rest by products.
    """
    if 0 in sizes or 0 in target:
        return None
    low = 0
    while low < min(len(sizes), len(target)) and sizes[low] == target[low]:
        low += 1
    high = 0
    while high < min(len(sizes), len(target)) - low and sizes[-1 - high] == target[-1 - high]:
        high += 1
    runs: list[_Run] = [([i], [i]) for i in range(low)]
    middle = _middle(sizes, target, low, len(sizes) - high, len(target) - high)
    if middle is None:
        return None
    tail: list[_Run] = [([len(sizes) - high + i], [len(target) - high + i]) for i in range(high)]
    return _without_orphans([*runs, *middle, *tail])


def _middle(
    sizes: Sequence[Element], target: Sequence[Element], low: int, end: int, target_end: int
) -> list[_Run] | None:
    """Match the axes between the equal ones by the products of their sizes; None if they do not match."""
    inputs, outputs = list(sizes[low:end]), list(target[low:target_end])
    if not inputs and not outputs:
        return []
    if not all(isinstance(e, int) and e > 0 for e in (*inputs, *outputs)):
        return [(list(range(low, end)), list(range(low, target_end)))]
    runs: list[_Run] = []
    i, j = low, low
    while i < end or j < target_end:
        axes: list[int] = []
        outs: list[int] = []
        input_size, output_size = 1, 1
        while not axes or input_size != output_size:
            if (input_size <= output_size or j >= target_end) and i < end:
                axes.append(i)
                input_size *= int(sizes[i])  # type: ignore[arg-type]
                i += 1
            elif j < target_end:
                outs.append(j)
                output_size *= int(target[j])  # type: ignore[arg-type]
                j += 1
            elif axes or outs:
                break
            else:
                return None
        while i < end and sizes[i] == 1:
            axes.append(i)
            i += 1
        while j < target_end and target[j] == 1:
            outs.append(j)
            j += 1
        if input_size != output_size:
            return None
        runs.append((axes, outs))
    return runs


def _without_orphans(runs: list[_Run]) -> list[_Run]:
    """Merge runs without input axes, which are axes of size 1, into their neighbours."""
    merged: list[_Run] = []
    for axes, outs in runs:
        if merged and not axes:
            merged[-1] = (merged[-1][0], [*merged[-1][1], *outs])
        else:
            merged.append((axes, outs))
    if merged and not merged[0][0] and len(merged) > 1:
        merged[1] = (merged[1][0], [*merged[0][1], *merged[1][1]])
        merged = merged[1:]
    return merged
