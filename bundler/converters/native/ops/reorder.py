"""Reshapes of tensors whose axes are stored in another order: when the data can stay where it is."""

from __future__ import annotations

from collections.abc import Sequence

from bundler.converters.native.value import Element, Order


def reshaped_order(sizes: Sequence[Element], target: Sequence[Element], order: Order) -> Order | None:
    """The storage order of the reshaped tensor, or None if the reshape needs ONNX's order first.

    A reshape splits and merges runs of neighbouring axes. Where each run is stored together and in sequence, the same
    split or merge works on the stored tensor, and the runs stay in their stored places.
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
    """Pairs of neighbouring input axes and the output axes they become: equal axes from both ends, then by products."""
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
    ours, theirs = list(sizes[low:end]), list(target[low:target_end])
    if not ours and not theirs:
        return []
    if not all(isinstance(e, int) and e > 0 for e in (*ours, *theirs)):
        return [(list(range(low, end)), list(range(low, target_end)))]
    runs: list[_Run] = []
    i, j = low, low
    while i < end or j < target_end:
        axes: list[int] = []
        outs: list[int] = []
        have, want = 1, 1
        while not axes or have != want:
            if (have <= want or j >= target_end) and i < end:
                axes.append(i)
                have *= int(sizes[i])  # type: ignore[arg-type]
                i += 1
            elif j < target_end:
                outs.append(j)
                want *= int(target[j])  # type: ignore[arg-type]
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
        if have != want:
            return None
        runs.append((axes, outs))
    return runs


def _without_orphans(runs: list[_Run]) -> list[_Run]:
    """Runs of axes of size 1 that have no counterpart join their neighbour."""
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
