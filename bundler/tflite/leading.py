"""How many of a model's first layers stay float in int8, so that its outputs keep enough of their signal.

Every layer adds its own noise, and passes on that of the layers before it. A deep network can amplify noise from layer to layer,
so that most of the noise at its end comes from its beginning, where a few layers in float remove it. The search doubles their
number until the signal-to-quantization-noise ratio (SQNR) of the outputs is high enough, and bisects.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from bundler.tflite.contents import TfliteOperator

AIM_DB = 20.5
"""The SQNR to reach over the calibration calls; over other data it is a little lower, and 20 dB are wanted there."""
_TABLES = frozenset({"GATHER", "EMBEDDING_LOOKUP"})
"""Their weights are most of many files, and their noise is that of one rounding."""
_PRODUCTS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"})


def leading_layers(
    layers: Sequence[TfliteOperator], sqnr_db: Callable[[Collection[str]], float]
) -> tuple[frozenset[str], int]:
    """Return the layers that stay float, by their tensors, and how many of them are convolutions or fully connected.

    There are none if the file is good enough without, or not with a quarter of the convolutions and fully connected layers in
    float, which is for `mix`.

    Args:
        layers: the layers that can be int8 or float, in the order in which they run.
        sqnr_db: measures the SQNR with these layers in float, in addition to those that are always float.
    """
    products = [index for index, layer in enumerate(layers) if layer.name in _PRODUCTS]

    def first(count: int) -> frozenset[str]:
        end = products[count - 1] + 1 if count else 0
        return frozenset(layer.tensor for layer in layers[:end] if layer.name not in _TABLES)

    failed, count, most = -1, 0, len(products) // 4
    while sqnr_db(first(count)) < AIM_DB:
        if count >= most:
            return frozenset(), 0
        failed, count = count, min(max(2 * count, 1), most)
    while count - failed > max(1, count // 8):
        middle = (failed + count) // 2
        if sqnr_db(first(middle)) < AIM_DB:
            failed = middle
        else:
            count = middle
    return first(count), count
