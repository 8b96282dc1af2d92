"""Which layers have to stay float: those that lose most, as few of them as pass.

1. `ranked` measures what each layer loses when it alone is int8 (`bundler.tflite.sensitivity`). Of a model of many
   layers, all of one operator are measured together first, as what int8 does badly it does badly everywhere (the squares
   of a LayerNorm), and only the operators that lose most are taken apart.
2. `smallest` doubles the number of float layers, in the order of their loss, until the gate passes; halves its way back
   to the least number; then gives back to int8 what the gate can do without: all layers of one operator, then half of
   them, a quarter, and so on down to single ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from bundler.tflite.exchange import Made, WorkerClient
from bundler.tflite.layers import Layer, Names, chosen, tensors

MEASURED_ALONE = 96
"""Up to so many layers are each measured; of more, about so many: a measure of a large model takes a second."""
TRIES = 32
"""At most so many groups of layers, ever smaller ones, are tried to be given back."""

Measure = Callable[[Sequence[Sequence[str]]], Sequence[float]]
Passes = Callable[[tuple[Layer, ...]], bool]


@dataclass(frozen=True)
class Loss:
    """What the model's outputs lose when this layer alone is int8.

    Attributes:
        noise: energy of the noise by that of the signal.
        shared: the layer was measured together with all others of its operator; `noise` is its share of theirs.
    """

    layer: Layer
    noise: float
    shared: bool = False

    @property
    def sqnr_db(self) -> float:
        return decibels(self.noise)

    def to_json(self) -> dict[str, object]:
        layer = {"layer": self.layer.name, "operator": self.layer.operator, "tensors": list(self.layer.tensors)}
        return {**layer, "sqnr_db": round(self.sqnr_db, 2), **({"shared": True} if self.shared else {})}


def decibels(noise: float) -> float:
    """Signal-to-noise ratio; infinite without noise."""
    if math.isinf(noise):
        return -math.inf
    return -10 * math.log10(noise) if noise > 0 else math.inf


def ranked(layers: Sequence[Layer], measure: Measure) -> tuple[Loss, ...]:
    """The layers in the order of their loss, the largest first."""
    groups = _groups(layers)
    noises = measure([tensors(group) for group in groups])
    losses: list[Loss] = []
    alone: list[Layer] = []
    for noise, group in sorted(zip(noises, groups, strict=True), key=lambda pair: -pair[0]):
        if len(group) > 1 and len(alone) < MEASURED_ALONE:
            alone += group
        else:
            losses += [Loss(layer, noise / len(group), shared=len(group) > 1) for layer in group]
    single = measure([layer.tensors for layer in alone]) if alone else ()
    losses += [Loss(layer, noise) for layer, noise in zip(alone, single, strict=True)]
    return tuple(sorted(losses, key=lambda loss: -loss.noise))


def _groups(layers: Sequence[Layer]) -> list[list[Layer]]:
    """What is measured together first: one layer, or of many layers all of one operator."""
    if len(layers) <= MEASURED_ALONE:
        return [[layer] for layer in layers]
    by_operator: dict[str, list[Layer]] = {}
    for layer in layers:
        by_operator.setdefault(layer.operator, []).append(layer)
    return list(by_operator.values())


def smallest(order: Sequence[Layer], passes: Passes) -> tuple[Layer, ...] | None:
    """The fewest of the layers, by the rules above, with which the gate passes.

    Args:
        order: those that lose most first.
        passes: asks the gate about a set of float layers; never twice about the same.

    Returns:
        The layers in the given order; None when the gate fails even with all of them float.
    """
    asked: dict[frozenset[Layer], bool] = {}

    def ask(layers: Sequence[Layer]) -> bool:
        key = frozenset(layers)
        if key not in asked:
            asked[key] = passes(tuple(layers))
        return asked[key]

    count = _least(len(order), lambda k: ask(order[:k]))
    if count is None:
        return None
    kept = list(order[:count])
    for group in _alike(kept):
        kept = _without(kept, group, ask)
    size, tries = len(kept) // 2, TRIES
    while size and tries > 0:
        for group in [kept[end - size : end] for end in range(len(kept), size - 1, -size)][:tries]:
            kept = _without(kept, group, ask)
            tries -= 1
        size //= 2
    return tuple(kept)


def _without(kept: list[Layer], group: Sequence[Layer], ask: Callable[[Sequence[Layer]], bool]) -> list[Layer]:
    """What is left when the gate can do without the group; else all."""
    left = [layer for layer in kept if layer not in group]
    return left if len(left) < len(kept) and ask(left) else kept


def _alike(kept: Sequence[Layer]) -> list[list[Layer]]:
    """The layers of each operator that has several, those that come last first."""
    by_operator: dict[str, list[Layer]] = {}
    for layer in reversed(kept):
        by_operator.setdefault(layer.operator, []).append(layer)
    return [group for group in by_operator.values() if len(group) > 1]


def _least(total: int, passes: Callable[[int], bool]) -> int | None:
    """The least count that passes, as far as doubling and halving find it."""
    failed, count = -1, 0
    while not passes(count):
        if count >= total:
            return None
        failed, count = count, min(max(2 * count, 1), total)
    while count - failed > 1:
        middle = (failed + count) // 2
        if passes(middle):
            count = middle
        else:
            failed = middle
    return count


class Search:
    """The search of one model, with everything asked once.

    Args:
        named: patterns of layers that stay float in any case.
        passes: whether a file passes the gate.
    """

    def __init__(self, session: WorkerClient, names: Names, named: Sequence[str], passes: Callable[[Made], bool]) -> None:
        self._session, self._names, self._patterns, self._passes = session, names, named, passes

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer that int8 may leave float.

        Raises:
            TfliteError: the model cannot be calibrated.
        """
        return self._names.layers(self._session.layers())

    @cached_property
    def named(self) -> tuple[Layer, ...]:
        """The layers that the user named.

        Raises:
            UsageError: a pattern matches nothing.
        """
        return chosen(self.layers, self._patterns) if self._patterns else ()

    @cached_property
    def losses(self) -> tuple[Loss, ...]:
        """Every layer, those that lose most first."""
        return ranked(self.layers, self._session.losses)

    @cached_property
    def found(self) -> tuple[Layer, ...] | None:
        """The float layers of the smallest mix that passes: the named ones and as few others as it takes; else None.

        Raises:
            TfbundleError: the evaluate function raises, or the quantizer stopped.
        """
        if self._pass(()):
            return self.named
        order = [loss.layer for loss in self.losses if loss.layer not in self.named]
        found = smallest(order, self._pass)
        return None if found is None else tuple(layer for layer in self.layers if layer in (*self.named, *found))

    def _pass(self, layers: Sequence[Layer]) -> bool:
        """Whether the gate passes with these and the named layers float."""
        return self._passes(self._session.attempt(tensors((*self.named, *layers))))
