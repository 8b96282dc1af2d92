"""Storage orders: `order[s]` is the ONNX axis that storage axis `s` holds. None stands for ONNX's own order."""

from __future__ import annotations

from typing import TypeAlias

Order: TypeAlias = "tuple[int, ...]"


def identity(rank: int) -> Order:
    """Return ONNX's own order of `rank` axes."""
    return tuple(range(rank))


def canonical(order: Order | None) -> Order | None:
    """Return the order, or None if it is ONNX's own."""
    return None if order is not None and order == identity(len(order)) else order


def channels_last(rank: int) -> Order:
    """Return (0, 2, …, rank-1, 1): batch, spatial axes, channels."""
    return (0, *range(2, rank), 1)


def channels_first_permutation(rank: int) -> Order:
    """Return the tf.transpose permutation from channels-last storage back to ONNX's order."""
    return (0, rank - 1, *range(1, rank - 1))
