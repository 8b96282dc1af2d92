"""The search for a mix: the fewest layers that must stay float for the gate to pass.

1. `ranked` measures the loss of each layer as the only int8 layer (`bundler.tflite.sensitivity`). In a model of many layers, all
   layers of one operator are measured together first, because an operator that suffers in int8 (such as the squares of a
   LayerNorm) suffers everywhere; only the layers of the operators that lose most are then measured individually.
2. `smallest` doubles the number of float layers, in the order of their loss, until the gate passes, and bisects to the smallest
   number that passes. It then returns to int8 the layers that the gate does not need: all layers of one operator, then half of
   the rest, a quarter, and so on down to single layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from bundler.tflite.exchange import ConvertedFile, WorkerClient
from bundler.tflite.layers import Layer, Names, matching_layers, tensors

MEASURED_ALONE = 96
"""Approximate maximum number of layers that are measured individually; one measurement of a large model takes a second."""
TRIES = 32
"""Maximum number of groups of layers, of decreasing size, that are tried in int8 again."""

Measure = Callable[[Sequence[Sequence[str]]], Sequence[float]]
Passes = Callable[[tuple[Layer, ...]], bool]


@dataclass(frozen=True)
class Loss:
    """The loss of the model's outputs when this layer is the only int8 layer.

    Attributes:
        layer: the layer.
        noise: energy of the noise divided by that of the signal.
        shared: whether the layer was measured together with all layers of its operator; `noise` is then its share.
    """

    layer: Layer
    noise: float
    shared: bool = False

    @property
    def sqnr_db(self) -> float:
        """The signal-to-quantization-noise ratio in dB."""
        return decibels(self.noise)

    def to_json(self) -> dict[str, object]:
        """Return the record for bundle.json."""
        layer = {"layer": self.layer.name, "operator": self.layer.operator, "tensors": list(self.layer.tensors)}
        return {**layer, "sqnr_db": round(self.sqnr_db, 2), **({"shared": True} if self.shared else {})}


def decibels(noise: float) -> float:
    """Return the signal-to-noise ratio in dB for a noise-to-signal ratio; infinite without noise."""
    if math.isinf(noise):
        return -math.inf
    return -10 * math.log10(noise) if noise > 0 else math.inf


def ranked(layers: Sequence[Layer], measure: Measure) -> tuple[Loss, ...]:
    """Return the layers' losses, the largest first. `measure` returns the noise of groups of tensors."""
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
    """Return the groups to measure first: single layers, or, if there are many layers, all layers of one operator."""
    if len(layers) <= MEASURED_ALONE:
        return [[layer] for layer in layers]
    return _by_operator(layers)


def _by_operator(layers: Iterable[Layer]) -> list[list[Layer]]:
    groups: dict[str, list[Layer]] = {}
    for layer in layers:
        groups.setdefault(layer.operator, []).append(layer)
    return list(groups.values())


def smallest(order: Sequence[Layer], passes: Passes) -> tuple[Layer, ...] | None:
    """Return the fewest float layers that pass the gate, as the search of the module's docstring finds them.

    Args:
        order: the layers, the one with the largest loss first.
        passes: tells whether a set of float layers passes; it is called at most once for each set.

    Returns:
        The layers in the order of `order`; None if the gate fails even with all of them in float.
    """
    results: dict[frozenset[Layer], bool] = {}

    def cached_passes(layers: Sequence[Layer]) -> bool:
        key = frozenset(layers)
        if key not in results:
            results[key] = passes(tuple(layers))
        return results[key]

    count = _smallest_count(len(order), lambda k: cached_passes(order[:k]))
    if count is None:
        return None
    float_layers = list(order[:count])
    for group in [group for group in _by_operator(reversed(float_layers)) if len(group) > 1]:
        float_layers = _without(float_layers, group, cached_passes)
    size, tries = len(float_layers) // 2, TRIES
    while size and tries > 0:
        for group in [float_layers[end - size : end] for end in range(len(float_layers), size - 1, -size)][:tries]:
            float_layers = _without(float_layers, group, cached_passes)
            tries -= 1
        size //= 2
    return tuple(float_layers)


def _without(
    float_layers: list[Layer], group: Sequence[Layer], passes: Callable[[Sequence[Layer]], bool]
) -> list[Layer]:
    """Return the layers without the group if they pass, else all layers."""
    others = [layer for layer in float_layers if layer not in group]
    return others if len(others) < len(float_layers) and passes(others) else float_layers


def _smallest_count(total: int, passes: Callable[[int], bool]) -> int | None:
    """Return the smallest count that passes, as found by doubling and bisection, or None if `total` fails."""
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
    """The search for one model; each result is computed once.

    Args:
        client: the process that converts and runs files.
        names: names of the model's layers.
        patterns: layers that always stay float.
        passes: tells whether a file passes the gate.
    """

    def __init__(
        self, client: WorkerClient, names: Names, patterns: Sequence[str], passes: Callable[[ConvertedFile], bool]
    ) -> None:
        self._client, self._names, self._patterns, self._passes = client, names, patterns, passes

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """All layers that can be int8 or float.

        Raises:
            TfliteError: the model cannot be calibrated.
        """
        return self._names.layers(self._client.layers())

    @cached_property
    def named(self) -> tuple[Layer, ...]:
        """The layers that the user's patterns match.

        Raises:
            UsageError: a pattern matches nothing.
        """
        return matching_layers(self.layers, self._patterns) if self._patterns else ()

    @cached_property
    def losses(self) -> tuple[Loss, ...]:
        """The losses of all layers, the largest first."""
        return ranked(self.layers, self._client.losses)

    @cached_property
    def result(self) -> tuple[Layer, ...] | None:
        """The float layers of the smallest mix that passes: the named layers and as few others as possible; None if none passes.

        Raises:
            TfbundleError: the evaluate function raises an error, or the quantizer fails.
        """
        if self._passes_with(()):
            return self.named
        order = [loss.layer for loss in self.losses if loss.layer not in self.named]
        others = smallest(order, self._passes_with)
        return None if others is None else tuple(layer for layer in self.layers if layer in (*self.named, *others))

    def _passes_with(self, layers: Sequence[Layer]) -> bool:
        """Return whether the gate passes with these and the named layers in float."""
        return self._passes(self._client.attempt(tensors((*self.named, *layers))))
