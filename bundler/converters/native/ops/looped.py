"""Recurrent layers of TFLite files as a loop: WHILE, whose body XNNPACK runs with one copy of the weights.

It takes sequences and batches of any size, which UNIDIRECTIONAL_SEQUENCE_LSTM does not: its states have a fixed size. It has no
list of tensors, since TFLite's lists need sizes that are known at build time. Instead, each step appends its output to those
of the steps before and drops the first row, so that after the last step the rows are the outputs. A loop copies its tensors in
every step, which is why the operator is faster for long sequences of small layers, and why a step may compute several outputs.

Milliseconds with LiteRT 2.3 in one thread, for one layer with inputs as wide as its state:

| steps, width | operator | loop | four outputs per step |
|---|---|---|---|
| 32, 128 | 0.36 | 0.20 | 0.21 |
| 128, 128 | 1.6 | 1.2 | 1.4 |
| 256, 64 | 0.85 | 1.5 | 1.1 |
| 256, 256 | 14 | 10 | 7.4 |
| 512, 256 | 26 | 29 | 15 |
| 1000, 128 | 14 | 46 | |
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from bundler.converters.native.tensors import Tensor

_SEVERAL, _MANY = 4, 64
"""The outputs that one step computes for a sequence of at least so many."""


def loops(steps: int, hidden: int) -> bool:
    """Return whether a loop is faster than UNIDIRECTIONAL_SEQUENCE_LSTM for this number of steps and width of the state."""
    return steps < hidden * _per_step(steps)


def _per_step(steps: int | None) -> int:
    return _SEVERAL if steps and steps >= _MANY and steps % _SEVERAL == 0 else 1


def looped(
    projected: Tensor, states: list[Tensor], advance: Callable[[Tensor, Tensor, list[Tensor]], tuple[Tensor, list[Tensor]]],
    *, backward: bool = False,
) -> tuple[Tensor, list[Tensor]]:  # fmt: skip
    """Run a layer over projected [T, B, gates*H], from its end if `backward` is set.

    Args:
        projected: what the inputs add to the gates.
        states: the initial states, each [B, H]; the outputs have the first one's width.
        advance: computes a step's output and new states, from the number of the step, its gates [B, gates*H] and the states.
        backward: whether the last row is the first step; the outputs stay in the order of the rows.

    Returns:
        All outputs [T, B, H], and the last states.
    """
    steps, batch = projected.shape[:2]
    count = _per_step(steps)
    blocks = tf.reshape(projected, [steps // count, count, *_sized(projected)[1:]]) if count > 1 else projected
    bits = tf.bitcast(blocks, tf.int32)
    last = tf.shape(blocks)[0] - 1
    hidden = states[0].shape[-1]
    rows = tf.zeros([*_sized(projected)[:2], hidden], projected.dtype)

    def body(block: Tensor, outputs: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        gates = tf.bitcast(tf.gather(bits, last - block if backward else block), projected.dtype)
        current, new = list(before), list[Tensor]()
        for place, part in enumerate(_in_time(tf.unstack(gates) if count > 1 else [gates], backward)):
            output, current = advance(block * count + place, part, current)
            new.append(output[None])
        joined = [*reversed(new), outputs[:-count]] if backward else [outputs[count:], *new]
        after = [tf.ensure_shape(tf.concat(joined, 0), outputs.shape), *current]
        return (block + 1, *(tf.ensure_shape(n, s.shape) for n, s in zip(after, (outputs, *before), strict=True)))

    shapes = [tf.TensorShape([]), tf.TensorShape([steps, batch, hidden]), *(state.shape for state in states)]
    _, outputs, *finals = tf.while_loop(
        lambda block, *_: block <= last, body, [tf.constant(0), rows, *states], shape_invariants=shapes
    )
    return outputs, list(finals)


def _in_time(parts: list[Tensor], backward: bool) -> list[Tensor]:
    return parts[::-1] if backward else parts


def _sized(x: Tensor) -> list[int | Tensor]:
    """Return the sizes of a tensor, known ones as ints."""
    return [tf.shape(x)[axis] if size is None else size for axis, size in enumerate(x.shape.as_list())]
