"""Recurrent layers of TFLite files, step after step without a loop.

XNNPACK runs all of it, in int8, too; a WHILE and the operator UNIDIRECTIONAL_SEQUENCE_LSTM run outside of it, and LiteRT.js
does not load the operator's variable tensors. With LiteRT 2.3 in one thread, a layer of 64 over 50 steps takes 0.08 ms in place
of 0.14 ms in float32, 0.05 in place of 0.12 in `dynamic`, and 0.05 in place of 0.92 in int8.

XNNPACK packs the recurrent weights once per step. Where these copies do not fit the cache, float32 gets slower than a loop (two
bidirectional layers of 128 over 32 steps: 2.3 ms in place of 0.8 ms) and loading takes 10 ms, hence the limits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.tensors import Tensor

MOST_STEPS = 128
MOST_BYTES = 4 * 2**20
"""The most that the packed recurrent weights of one direction of a layer may take in float32, over all steps."""


def unrolls(ctx: Context, steps: int | None, recurrence: Any) -> bool:
    """Return whether a layer with this number of steps and these recurrent weights is to be unrolled."""
    if ctx.target != "tflite" or not steps or not isinstance(recurrence, np.ndarray):
        return False
    return steps <= MOST_STEPS and steps * recurrence.nbytes <= MOST_BYTES


def unrolled(
    projected: Tensor, states: list[Tensor], advance: Callable[[int, Tensor, list[Tensor]], tuple[Tensor, list[Tensor]]],
    *, backward: bool = False,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """Run a layer over projected [T, B, gates*H]; arguments and results as of `looped.looped`."""
    outputs, rows = [], tf.unstack(projected)
    for t, gates in enumerate(reversed(rows) if backward else rows):
        output, states = advance(t, gates, states)
        outputs.append(output)
    return tf.stack(outputs[::-1] if backward else outputs), states
