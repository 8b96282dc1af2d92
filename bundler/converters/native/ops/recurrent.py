"""LSTM, GRU and RNN.

https://onnx.ai/onnx/operators/onnx__LSTM.html, https://onnx.ai/onnx/operators/onnx__GRU.html,
https://onnx.ai/onnx/operators/onnx__RNN.html

An LSTM with the default activations runs as BlockLSTMV2, one op for the whole sequence (a while loop costs about 1.8 times
as much on CPU). GRU, RNN and other activations run as a loop over time; the input projection is done before the loop, for all
steps in one product. For TFLite, short layers are unrolled (`unrolled.py`), others become a loop (`looped.py`); a long LSTM with
a narrow state runs as UNIDIRECTIONAL_SEQUENCE_LSTM if all its sizes are known, it starts from zeros, all sequences have the same
length and the last cell state is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from bundler.converters.native.context import Context
from bundler.converters.native.nodes import is_read
from bundler.converters.native.ops.looped import looped, loops
from bundler.converters.native.ops.tflite_lstm import tflite_lstm
from bundler.converters.native.ops.unrolled import unrolled, unrolls
from bundler.converters.native.registry import AxisPolicy, op
from bundler.converters.native.tensors import Tensor
from bundler.converters.native.value import Value
from bundler.values.arrays import Array

Activation = Callable[[Tensor], Tensor]
Step = Callable[[Tensor, list[Tensor]], list[Tensor]]


@dataclass(frozen=True)
class _Run:
    """One direction of one layer.

    Attributes:
        x: [T, B, I], already reversed for the backward direction unless `from_end` is set.
        lengths: [B] int32, or None if all sequences fill T.
        states: initial states, each [B, H].
        from_end: whether to start with the last row of x; the outputs stay in the order of x.
    """

    x: Tensor
    lengths: Tensor | None
    states: list[Tensor]
    from_end: bool = False


@dataclass(frozen=True)
class _Layer:
    """The weights of a recurrent layer, as arrays if they are constants, otherwise as tensors; both are sliced alike.

    Attributes:
        w: [D, gates*H, I], for D directions.
        r: [D, gates*H, H].
        b: [D, 2*gates*H], the biases of w and then of r; None if there are none.
        direction: forward, reverse or bidirectional.
        batch_first: whether the batch is the first axis of data and states (layout=1).
    """

    w: Any
    r: Any
    b: Any
    direction: str
    batch_first: bool

    @classmethod
    def of(cls, w: Value, r: Value, b: Value | None, direction: str, layout: int) -> _Layer:
        """Read the weights."""
        return cls(_array_or_tensor(w), _array_or_tensor(r), _optional(b), direction, bool(layout))

    @property
    def hidden(self) -> Any:
        """The size of a state."""
        return self.r.shape[-1]

    def biases(self, d: int, gates: int) -> tuple[Any, Any]:
        """Return the biases of w and r in direction d, each [gates*H]; zeros if there are none."""
        size = gates * self.hidden
        if self.b is None:
            return _zeros(size, self.w), _zeros(size, self.w)
        return self.b[d][:size], self.b[d][size:]

    def bias(self, d: int, gates: int) -> Any:
        """Return the sum of the two biases."""
        if self.b is None:
            return _zeros(gates * self.hidden, self.w)
        first, second = self.biases(d, gates)
        return first + second


@op("LSTM", layout=AxisPolicy.VALUES)
def lstm(
    ctx: Context, x: Value, w: Value, r: Value, b: Value | None = None, lengths: Value | None = None,
    initial_h: Value | None = None, initial_c: Value | None = None, peephole: Value | None = None, *,
    activation_alpha: Sequence[float] | None = None, activation_beta: Sequence[float] | None = None,
    activations: Sequence[str] | None = None, clip: float | None = None, direction: str = "forward",
    hidden_size: int | None = None, input_forget: int = 0, layout: int = 0,
) -> list[Value]:  # fmt: skip
    """Lower LSTM: x [T, B, I], w [D, 4H, I], r [D, 4H, H], b [D, 8H], gates i, o, f, c.

    Returns Y [T, D, B, H], Y_h [D, B, H] and Y_c [D, B, H].
    """
    layer = _Layer.of(w, r, b, direction, layout)
    hidden = layer.hidden
    functions = _activation_functions(
        activations, activation_alpha, activation_beta, ["Sigmoid", "Tanh", "Tanh"], direction
    )
    peepholes = _optional(peephole)
    plain = activations is None or [a.lower() for a in activations] == ["sigmoid", "tanh", "tanh"] * len(functions)
    block = plain and not clip and not input_forget and w.dtype == tf.float32
    block = block and all(v is None or v.is_constant for v in (w, r, b, peephole))
    simple = peepholes is None and lengths is None and not _reads_cell(ctx)
    simple = simple and None not in x.shape and _is_zero(initial_h) and _is_zero(initial_c)

    def run(d: int, inputs: _Run) -> tuple[Tensor, list[Tensor]]:
        bias = layer.bias(d, 4)
        pieces = None if peepholes is None else [peepholes[d][i * hidden : (i + 1) * hidden] for i in range(3)]
        if block and ctx.target == "serving":
            return _block_lstm(ctx, inputs, layer.w[d], layer.r[d], bias, pieces)
        if block and simple and not unrolls(ctx, inputs.x.shape[0], layer.r[d]) and not loops(inputs.x.shape[0], hidden):
            y, last = tflite_lstm(ctx, _reversed(inputs.x, None) if inputs.from_end else inputs.x, layer.w[d], layer.r[d], bias)
            return _reversed(y, None) if inputs.from_end else y, last
        projected = _project(ctx, inputs.x, layer.w[d], bias)
        step = _lstm_step(ctx, layer.r[d], functions[d], clip, bool(input_forget), pieces)
        return _loop(ctx, projected, inputs, layer.r[d], step)

    return _directions(ctx, x, [initial_h, initial_c], lengths, layer, run)


@op("GRU", layout=AxisPolicy.VALUES)
def gru(
    ctx: Context, x: Value, w: Value, r: Value, b: Value | None = None, lengths: Value | None = None,
    initial_h: Value | None = None, *, activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None, activations: Sequence[str] | None = None, clip: float | None = None,
    direction: str = "forward", hidden_size: int | None = None, layout: int = 0, linear_before_reset: int = 0,
) -> list[Value]:  # fmt: skip
    """Lower GRU: x [T, B, I], w [D, 3H, I], r [D, 3H, H], b [D, 6H], gates z, r, h.

    Returns Y [T, D, B, H] and Y_h [D, B, H].
    """
    layer = _Layer.of(w, r, b, direction, layout)
    functions = _activation_functions(activations, activation_alpha, activation_beta, ["Sigmoid", "Tanh"], direction)

    def run(d: int, inputs: _Run) -> tuple[Tensor, list[Tensor]]:
        w_bias, r_bias = layer.biases(d, 3)
        projected = _project(ctx, inputs.x, layer.w[d], w_bias)
        step = _gru_step(ctx, layer.r[d], r_bias, functions[d], clip, linear_before_reset)
        return _loop(ctx, projected, inputs, layer.r[d], step)

    return _directions(ctx, x, [initial_h], lengths, layer, run)


@op("RNN", layout=AxisPolicy.VALUES)
def rnn(
    ctx: Context, x: Value, w: Value, r: Value, b: Value | None = None, lengths: Value | None = None,
    initial_h: Value | None = None, *, activation_alpha: Sequence[float] | None = None,
    activation_beta: Sequence[float] | None = None, activations: Sequence[str] | None = None, clip: float | None = None,
    direction: str = "forward", hidden_size: int | None = None, layout: int = 0,
) -> list[Value]:  # fmt: skip
    """Lower RNN: x [T, B, I], w [D, H, I], r [D, H, H], b [D, 2H].

    Returns Y [T, D, B, H] and Y_h [D, B, H].
    """
    layer = _Layer.of(w, r, b, direction, layout)
    functions = _activation_functions(activations, activation_alpha, activation_beta, ["Tanh"], direction)

    def run(d: int, inputs: _Run) -> tuple[Tensor, list[Tensor]]:
        bias = layer.bias(d, 1)
        recurrence = _transposed(ctx, layer.r[d])

        def step(gates: Tensor, states: list[Tensor]) -> list[Tensor]:
            return [functions[d][0](_clipped(gates + states[0] @ recurrence, clip))]

        return _loop(ctx, _project(ctx, inputs.x, layer.w[d], bias), inputs, layer.r[d], step)

    return _directions(ctx, x, [initial_h], lengths, layer, run)


def _reads_cell(ctx: Context) -> bool:
    """Whether the last cell state is read, an output that TFLite's operator does not have."""
    return ctx.node is not None and any(map(is_read, ctx.node.outputs[2:]))


def _is_zero(value: Value | None) -> bool:
    """Whether an initial state is known to be zero."""
    if value is None:
        return True
    known = value.array if value.filling is None else value.filling
    return known is not None and not known.any()


def _array_or_tensor(value: Value) -> Any:
    return value.tensor if value.array is None else value.array


def _optional(value: Value | None) -> Any:
    return None if value is None else _array_or_tensor(value)


def _zeros(size: int, like: Any) -> Array:
    return np.zeros(size, like.dtype if isinstance(like, np.ndarray) else like.dtype.as_numpy_dtype)


def _transposed(ctx: Context, matrix: Any) -> Tensor:
    """Transpose a matrix, at build time if it is a constant."""
    return ctx.weight(np.ascontiguousarray(matrix.T)) if isinstance(matrix, np.ndarray) else tf.transpose(matrix)


def _vector(ctx: Context, vector: Any) -> Tensor:
    return ctx.weight(vector) if isinstance(vector, np.ndarray) else vector


def _directions(
    ctx: Context, x: Value, initial: list[Value | None], lengths: Value | None, layer: _Layer,
    run: Callable[[int, _Run], tuple[Tensor, list[Tensor]]],
) -> list[Value]:  # fmt: skip
    """Run each direction and join the results: Y, then each final state."""
    data = x.in_order((1, 0, 2)) if layer.batch_first else x.tensor
    batch = tf.shape(data)[1]
    spans = None if lengths is None else tf.cast(lengths.tensor, tf.int32)
    outputs, finals = [], []
    for d in range(layer.w.shape[0]):
        backward = layer.direction == "reverse" or d == 1
        states = [_initial(value, d, batch, data.dtype, layer) for value in initial]
        from_end = backward and spans is None and ctx.target == "tflite"
        turns = backward and not from_end
        y, last = run(d, _Run(_reversed(data, spans) if turns else data, spans, states, from_end))
        outputs.append(_reversed(y, spans) if turns else y)
        finals.append(last)
    y = tf.stack(outputs, 1)
    ends = [tf.stack(parts, 0) for parts in zip(*finals, strict=True)]
    if not layer.batch_first:
        return [ctx.value(y), *map(ctx.value, ends)]
    return [ctx.value(tf.transpose(y, [2, 0, 1, 3])), *(ctx.value(tf.transpose(e, [1, 0, 2])) for e in ends)]


def _initial(value: Value | None, d: int, batch: Tensor, dtype: tf.DType, layer: _Layer) -> Tensor:
    if value is None:
        return tf.zeros([batch, layer.hidden], dtype)
    return value.tensor[:, d] if layer.batch_first else value.tensor[d]


def _reversed(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse [T, B, …] in time, each sequence within its own length."""
    if lengths is None:
        return tf.reverse(sequence, [0])
    return tf.reverse_sequence(sequence, lengths, seq_axis=0, batch_axis=1)


def _project(ctx: Context, x: Tensor, w: Any, bias: Any) -> Tensor:
    """Compute x @ w' + bias for all steps in one product, [T, B, gates*H]."""
    gates, inputs = w.shape
    flat = tf.matmul(tf.reshape(x, [-1, inputs]), _transposed(ctx, w))
    sizes = tf.shape(x)
    return tf.reshape(tf.nn.bias_add(flat, _vector(ctx, bias)), [sizes[0], sizes[1], gates])


def _block_lstm(
    ctx: Context, inputs: _Run, w: Array, r: Array, bias: Array, peepholes: list[Array] | None
) -> tuple[Tensor, list[Tensor]]:
    """Run BlockLSTMV2. Its gates are i, f, c, o (kernels/rnn/lstm_ops.h, GateLayout IFCO); ONNX's are i, o, f, c."""
    hidden = r.shape[-1]
    order = np.concatenate([np.arange(hidden) + gate * hidden for gate in (0, 2, 3, 1)])
    kernel = ctx.weight(np.ascontiguousarray(np.concatenate([w[order].T, r[order].T])))
    zeros = np.zeros(hidden, w.dtype)
    p_i, p_o, p_f = peepholes or (zeros, zeros, zeros)
    result = tf.raw_ops.BlockLSTMV2(
        seq_len_max=tf.shape(inputs.x, out_type=tf.int64)[0], x=inputs.x, cs_prev=inputs.states[1], h_prev=inputs.states[0],
        w=kernel, wci=p_i, wcf=p_f, wco=p_o, b=ctx.weight(bias[order]), cell_clip=0.0, use_peephole=peepholes is not None,
    )  # fmt: skip
    if inputs.lengths is None:
        return result.h, [_last(s, i) for s, i in zip((result.h, result.cs), inputs.states, strict=True)]
    finals = [_at_length(s, inputs.lengths, i) for s, i in zip((result.h, result.cs), inputs.states, strict=True)]
    return result.h * _mask(inputs, result.h), finals


def _last(states: Tensor, initial: Tensor) -> Tensor:
    """Return the state after the last step, [B, H]; the initial one if there is no step."""
    return states[-1] if states.shape[0] else tf.concat([initial[None], states[-1:]], 0)[-1]


def _mask(inputs: _Run, like: Tensor) -> Tensor:
    """Return [T, B, 1]: 1 within a sequence's length, 0 after it."""
    steps = tf.range(tf.shape(inputs.x)[0])
    return tf.cast(steps[:, None] < tf.expand_dims(inputs.lengths, 0), like.dtype)[:, :, None]


def _at_length(states: Tensor, lengths: Tensor, initial: Tensor) -> Tensor:
    """Return each sequence's state after its last step, [B, H]; the initial state of an empty one."""
    whole = tf.concat([initial[None], states], 0)
    return tf.gather(tf.transpose(whole, [1, 0, 2]), lengths, batch_dims=1)


def _loop(ctx: Context, projected: Tensor, inputs: _Run, recurrence: Any, step: Step) -> tuple[Tensor, list[Tensor]]:
    """Run `step` over time; beyond a sequence's length the outputs are zero and the states do not change."""
    steps, batch = inputs.x.shape[:2]
    if ctx.target == "tflite":
        form = unrolled if unrolls(ctx, steps, recurrence) else looped
        sized = tf.ensure_shape(projected, [steps, batch, projected.shape[2]])
        return form(sized, inputs.states, partial(_advanced, inputs.lengths, step), backward=inputs.from_end)
    length = tf.shape(projected)[0]
    outputs = tf.TensorArray(projected.dtype, size=length, element_shape=inputs.states[0].shape)

    def body(t: Tensor, outs: tf.TensorArray, states: list[Tensor]) -> tuple[Tensor, tf.TensorArray, list[Tensor]]:
        out, new = _advanced(inputs.lengths, step, t, projected[t], states)
        new = [tf.ensure_shape(n, s.shape) for n, s in zip(new, states, strict=True)]
        return t + 1, outs.write(t, out), new

    _, outputs, finals = tf.while_loop(lambda t, *_: t < length, body, [tf.constant(0), outputs, list(inputs.states)])
    return _stacked(outputs, inputs.states[0]), list(finals)


def _advanced(
    lengths: Tensor | None, step: Step, t: Any, gates: Tensor, states: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Return the output of step t and the new states; beyond a sequence's length, zeros and the states as they are."""
    new = step(gates, states)
    out = new[0]
    if lengths is None:
        return out, new
    active = (t < lengths)[:, None]
    return tf.where(active, out, tf.zeros_like(out)), [tf.where(active, n, s) for n, s in zip(new, states, strict=True)]


def _stacked(outputs: tf.TensorArray, like: Tensor) -> Tensor:
    """Stack the outputs of all steps, of which there may be none: then only the state tells their shape."""
    if like.shape.is_fully_defined() or tf.executing_eagerly():
        return outputs.stack()
    stacked = tf.raw_ops.TensorListStack(
        input_handle=outputs.flow, element_shape=tf.shape(like), element_dtype=outputs.dtype, num_elements=-1
    )
    return tf.ensure_shape(stacked, [None, *like.shape])


def _lstm_step(
    ctx: Context, r: Any, functions: list[Activation], clip: float | None, coupled: bool, peepholes: list[Any] | None,
) -> Step:  # fmt: skip
    recurrence = _transposed(ctx, r)
    f, g, h = functions

    def step(gates: Tensor, states: list[Tensor]) -> list[Tensor]:
        hidden, cell = states
        i, o, forget, c = tf.split(gates + hidden @ recurrence, 4, -1)
        if peepholes is not None:
            i, forget = i + peepholes[0] * cell, forget + peepholes[2] * cell
        i = f(_clipped(i, clip))
        forget = 1.0 - i if coupled else f(_clipped(forget, clip))
        cell = forget * cell + i * g(_clipped(c, clip))
        if peepholes is not None:
            o = o + peepholes[1] * cell
        return [f(_clipped(o, clip)) * h(cell), cell]

    return step


def _gru_step(ctx: Context, r: Any, bias: Any, functions: list[Activation], clip: float | None, linear: int) -> Step:
    hidden = r.shape[-1]
    gates_r = _transposed(ctx, r[: 2 * hidden])
    gate_h = _transposed(ctx, r[2 * hidden :])
    f, g = functions

    def step(gates: Tensor, states: list[Tensor]) -> list[Tensor]:
        (state,) = states
        x_zr, x_h = gates[..., : 2 * hidden], gates[..., 2 * hidden :]
        z, reset = tf.split(f(_clipped(x_zr + state @ gates_r + bias[: 2 * hidden], clip)), 2, -1)
        if linear:
            candidate = x_h + reset * (state @ gate_h + bias[2 * hidden :])
        else:
            candidate = x_h + (reset * state) @ gate_h + bias[2 * hidden :]
        return [(1.0 - z) * g(_clipped(candidate, clip)) + z * state]

    return step


def _clipped(x: Tensor, clip: float | None) -> Tensor:
    return tf.clip_by_value(x, -clip, clip) if clip else x


_ALPHA = {"leakyrelu": 0.01, "thresholdedrelu": 1.0, "elu": 1.0, "hardsigmoid": 0.2, "scaledtanh": 1.0, "affine": 1.0}
_BETA = {"hardsigmoid": 0.5, "scaledtanh": 1.0, "affine": 0.0}


def _activation(name: str, alpha: float | None, beta: float | None) -> Activation:
    """Return ONNX's activation of this name, in upper or lower case."""
    kind = name.lower()
    a = _ALPHA.get(kind, 0.0) if alpha is None else alpha
    b = _BETA.get(kind, 0.0) if beta is None else beta
    table: dict[str, Activation] = {
        "relu": tf.nn.relu,
        "tanh": tf.tanh,
        "sigmoid": tf.sigmoid,
        "softsign": tf.nn.softsign,
        "softplus": tf.math.softplus,
        "leakyrelu": lambda x: tf.nn.leaky_relu(x, a),
        "thresholdedrelu": lambda x: tf.where(x > a, x, tf.zeros_like(x)),
        "elu": lambda x: tf.where(x < 0, a * tf.math.expm1(tf.minimum(x, 0.0)), x),
        "hardsigmoid": lambda x: tf.clip_by_value(a * x + b, 0.0, 1.0),
        "scaledtanh": lambda x: a * tf.tanh(b * x),
        "affine": lambda x: a * x + b,
    }
    if kind not in table:
        raise ValueError(f"its activation {name!r} is not defined by ONNX for recurrent operators")
    return table[kind]


def _activation_functions(
    names: Sequence[str] | None, alphas: Sequence[float] | None, betas: Sequence[float] | None, default: list[str],
    direction: str,
) -> list[list[Activation]]:  # fmt: skip
    """Return the functions f, g, h of each direction. Alphas and betas go, in order, to the functions that take one."""
    count = 2 if direction == "bidirectional" else 1
    remaining_alphas, remaining_betas = list(alphas or []), list(betas or [])
    functions = []
    for name in names or default * count:
        alpha = remaining_alphas.pop(0) if remaining_alphas and name.lower() in _ALPHA else None
        beta = remaining_betas.pop(0) if remaining_betas and name.lower() in _BETA else None
        functions.append(_activation(name, alpha, beta))
    size = len(default)
    return [functions[d * size : (d + 1) * size] for d in range(count)]
