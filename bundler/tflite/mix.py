"""Which layers have to stay float: those that lose most, as few of them as pass.

1. `ranked` measures what each layer loses when it alone is int8 (`bundler.tflite.sensitivity`). A model of many layers
   is measured in blocks of neighbours first, and only the blocks that lose most are taken apart.
2. `smallest` doubles the number of float layers, in the order of their loss, until the gate passes; halves its way back
   to the least number; then gives back each layer that the gate can do without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from bundler.tflite.exchange import Made, Session
from bundler.tflite.layers import Layer, Names, chosen, tensors

MEASURED_ALONE = 64
"""Up to so many layers are each measured; of more, about so many."""
GIVEN_BACK = 12
"""At most so many layers are tried whether the gate passes without them."""

Measure = Callable[[Sequence[Sequence[str]]], Sequence[float]]
Passes = Callable[[tuple[Layer, ...]], bool]


@dataclass(frozen=True)
class Loss:
    """What the model's outputs lose when this layer alone is int8.

    Attributes:
        noise: energy of the noise by that of the signal.
        block: the layer was measured together with its neighbours: it loses at most so much.
    """

    layer: Layer
    noise: float
    block: bool = False

    @property
    def sqnr_db(self) -> float:
        return decibels(self.noise)

    def to_json(self) -> dict[str, object]:
        layer = {"layer": self.layer.name, "operator": self.layer.operator, "tensors": list(self.layer.tensors)}
        return {**layer, "sqnr_db": round(self.sqnr_db, 2), **({"block": True} if self.block else {})}


def decibels(noise: float) -> float:
    """Signal-to-noise ratio; infinite without noise."""
    if math.isinf(noise):
        return -math.inf
    return -10 * math.log10(noise) if noise > 0 else math.inf


def ranked(layers: Sequence[Layer], measure: Measure) -> tuple[Loss, ...]:
    """The layers in the order of their loss, the largest first."""
    blocks = _blocks(layers)
    noises = measure([tensors(block) for block in blocks])
    losses: list[Loss] = []
    alone: list[Layer] = []
    for noise, block in sorted(zip(noises, blocks, strict=True), key=lambda pair: -pair[0]):
        if len(block) > 1 and len(alone) < MEASURED_ALONE:
            alone += block
        else:
            losses += [Loss(layer, noise, block=len(block) > 1) for layer in block]
    single = measure([layer.tensors for layer in alone]) if alone else ()
    losses += [Loss(layer, noise) for layer, noise in zip(alone, single, strict=True)]
    return tuple(sorted(losses, key=lambda loss: (loss.block, -loss.noise)))


def _blocks(layers: Sequence[Layer]) -> list[Sequence[Layer]]:
    size = 1 if len(layers) <= MEASURED_ALONE else math.isqrt(len(layers))
    return [layers[start : start + size] for start in range(0, len(layers), size)]


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
    for layer in kept[::-1][:GIVEN_BACK]:
        without = [other for other in kept if other != layer]
        if ask(without):
            kept = without
    return tuple(kept)


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

    def __init__(self, session: Session, names: Names, named: Sequence[str], passes: Callable[[Made], bool]) -> None:
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
