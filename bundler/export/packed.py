"""Packed sequences during an export: padded tensors with the lengths of their rows, which ONNX's LSTM, GRU and RNN take.

torch's PackedSequence holds the valid steps of all rows one after the other, so its sizes depend on values, and torch's exporter
cannot trace the recurrent layers over it (torch 2.13: `zeros(): argument 'size' failed to unpack`). During the export

1. `pack_padded_sequence` keeps the padded tensor, time first and in the order of the batch, and the lengths in place of
   `batch_sizes`;
2. nn.LSTM, nn.GRU and nn.RNN over such a sequence become ONNX's operator of that name with `sequence_lens`, one per layer
   (https://onnx.ai/onnx/operators/onnx__LSTM.html);
3. `pad_packed_sequence` fills the steps behind each row's length, and cuts the result to the longest row or to `total_length`.

If torch cannot export a recurrent layer over a tensor (`torch_interfaces.exports_recurrence`), the second rule covers that, too.

PyTorch computes the reference outputs with its own functions, so parity compares this with the real layers and packed sequences.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence

from bundler.errors import ExportError
from bundler.export import torch_interfaces

_OPSET = 22
"""The opset that defines LSTM, GRU and RNN as this module writes them; torch's exporter converts a graph of another one."""

_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN_TANH": (0,), "RNN_RELU": (0,)}
"""The order of ONNX's gates in PyTorch's: iofc of ifgo, zrh of rzn."""

WAY_OUT = (
    "let forward take the padded tensor x and the tensor lengths, and write:\n"
    "    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)\n"
    "    output, state = self.rnn(packed)\n"
    "    output, _ = pad_packed_sequence(output, batch_first=True, total_length=x.shape[1])"
)
"""The form of packed sequences that can be exported."""

_lengths: list[Tensor] = []
"""The lengths that stand for `batch_sizes` in the sequences of this export: other PackedSequences are torch's own."""


@contextlib.contextmanager
def padded_sequences() -> Iterator[None]:
    """Replace torch's functions and layers for packed sequences, wherever a model has got them from."""
    functions: list[tuple[Any, Any]] = [(rnn.pack_padded_sequence, _pack_padded), (rnn.pad_packed_sequence, _pad_packed)]
    originals = [function.__code__ for function, _ in functions]
    layers: list[tuple[Any, Callable[..., Any]]] = [(kind, kind.forward) for kind in (nn.LSTM, nn.GRU, nn.RNN)]
    try:
        for function, substitute in functions:
            function.__code__ = substitute.__code__
        for kind, forward in layers:
            kind.forward = _over_sequences(forward)
        yield
    finally:
        for (function, _), original in zip(functions, originals, strict=True):
            function.__code__ = original
        for kind, forward in layers:
            kind.forward = forward
        _lengths.clear()


# The code of the next two functions runs in place of torch's, with the globals of torch.nn.utils.rnn.


def _pack_padded(input: Any, lengths: Any, batch_first: Any = False, enforce_sorted: Any = True) -> Any:
    from bundler.export.packed import pack

    return pack(input, lengths, batch_first)


def _pad_packed(
    sequence: Any, batch_first: Any = False, padding_value: Any = 0.0, total_length: Any = None
) -> Any:
    from bundler.export.packed import pad

    return pad(sequence, batch_first, padding_value, total_length)


def pack(padded: Tensor, lengths: Tensor | Sequence[int], batch_first: bool) -> PackedSequence:
    """Return a sequence that holds the padded tensor [time, batch, …] and the lengths [batch]."""
    steps = torch.as_tensor(lengths, dtype=torch.int64)
    _lengths.append(steps)
    return PackedSequence(padded.transpose(0, 1) if batch_first else padded, steps)


def pad(
    sequence: PackedSequence, batch_first: bool, padding_value: float, total_length: int | None
) -> tuple[Tensor, Tensor]:
    """Return the padded tensor, filled behind each row's length, and the lengths."""
    check_padded(sequence)
    data, lengths = sequence.data, sequence.batch_sizes
    data = torch.where(_is_step(data, lengths), data, torch.as_tensor(padding_value, dtype=data.dtype))
    if total_length is None:
        longest: Any = lengths.max().item()
        check: Any = torch._check  # the size depends on values: the exporter has to be told its bounds
        check(longest >= 1)
        check(longest <= data.shape[0])
        data = data.narrow(0, 0, longest)
    elif total_length is not data.shape[0] and not _same(total_length, data.shape[0]):
        sides = [0, 0] * (data.dim() - 1) + [0, total_length - data.shape[0]]
        data = nn.functional.pad(data, sides, value=padding_value)
    return (data.transpose(0, 1) if batch_first else data), lengths


def _same(one: Any, other: Any) -> bool:
    """Whether two sizes are the same number or the same symbol; two symbols are not compared, which would fix them."""
    expressions = [size.node.expr if isinstance(size, torch.SymInt) else size for size in (one, other)]
    return bool(expressions[0] == expressions[1])


def _is_step(data: Tensor, lengths: Tensor) -> Tensor:
    """Return whether each step of `data` [time, batch, …] lies within its row's length, as bool [time, batch, 1, …]."""
    times = torch.arange(data.shape[0])
    return (times[:, None] < lengths[None]).reshape(data.shape[0], data.shape[1], *[1] * (data.dim() - 2))


def check_padded(sequence: PackedSequence) -> None:
    """Raise if a sequence does not come from `pack_padded_sequence`, so that its rows are unknown."""
    if not any(sequence.batch_sizes is lengths for lengths in _lengths):
        raise ExportError(
            "The model makes a PackedSequence without pack_padded_sequence, which ONNX cannot express.", fix=WAY_OUT,
            code="TFB2305",
        )


def _over_sequences(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return a recurrent layer's `forward` that handles packed sequences itself, and tensors if torch cannot export them."""
    leaves_tensors = torch_interfaces.exports_recurrence()

    def substitute(self: nn.RNNBase, input: Any, hx: Any = None) -> Any:
        if not isinstance(input, PackedSequence):
            if leaves_tensors or input.dim() != 3 or self.proj_size:
                return forward(self, input, hx)
            data, states = run(self, input.transpose(0, 1) if self.batch_first else input, None, hx)
            return data.transpose(0, 1) if self.batch_first else data, states
        check_padded(input)
        data, states = run(self, input.data, input.batch_sizes, hx)
        return PackedSequence(data, input.batch_sizes), states

    return substitute


def run(layer: nn.RNNBase, data: Tensor, lengths: Tensor | None, initial: Any) -> tuple[Tensor, Any]:
    """Trace a recurrent layer over padded data as ONNX operators.

    Args:
        layer: an LSTM, GRU or RNN.
        data: [time, batch, features].
        lengths: the length of each row, [batch]; None: every row is as long as the data.
        initial: the initial state [layers * directions, batch, hidden], a pair of them for an LSTM, or None for zeros.

    Returns:
        The outputs [time, batch, directions * hidden], and the last state of each row, as PyTorch returns it.
    """
    if layer.proj_size:
        raise ExportError(
            "An LSTM with proj_size over packed sequences cannot be written to ONNX, whose LSTM has no projection.",
            fix="use proj_size=0 and a Linear layer behind the LSTM, or call the layer with the padded tensor",
            code="TFB2305",
        )
    directions = 2 if layer.bidirectional else 1
    given = () if initial is None else initial if isinstance(initial, tuple) else (initial,)
    last: list[Sequence[Tensor]] = []
    for number in range(layer.num_layers):
        states = [state[number * directions : (number + 1) * directions] for state in given]
        outputs = _operator(layer, number, data, lengths, states)
        last.append(outputs[1:])
        # [time, directions, batch, hidden] to [time, batch, directions * hidden]
        data = outputs[0].transpose(1, 2).flatten(2)
    finals = tuple(torch.cat(parts) for parts in zip(*last, strict=True))
    return data, finals if layer.mode == "LSTM" else finals[0]


def _operator(
    layer: nn.RNNBase, number: int, data: Tensor, lengths: Tensor | None, states: Sequence[Tensor]
) -> Sequence[Tensor]:
    """Trace one layer in all its directions as one ONNX operator, and return its outputs."""
    directions = 2 if layer.bidirectional else 1
    suffixes = [f"_l{number}", f"_l{number}_reverse"][:directions]
    weights = [torch.stack([_gates(layer, getattr(layer, f"{kind}{suffix}")) for suffix in suffixes]) for kind in _WEIGHTS]
    bias = None
    if layer.bias:
        bias = torch.cat([torch.stack([_gates(layer, getattr(layer, f"{kind}{s}")) for s in suffixes]) for kind in _BIASES], 1)
    attributes: dict[str, Any] = {
        "hidden_size": layer.hidden_size, "direction": "bidirectional" if layer.bidirectional else "forward",
    }  # fmt: skip
    if layer.mode == "GRU":
        attributes["linear_before_reset"] = 1
    if layer.mode == "RNN_RELU":
        attributes["activations"] = ["Relu"] * directions
    time, rows = data.shape[:2]
    state = (directions, rows, layer.hidden_size)
    shapes = [(time, *state), state, state][: 3 if layer.mode == "LSTM" else 2]
    inputs = [data, *weights, bias, None if lengths is None else lengths.to(torch.int32), *states]
    outputs: Sequence[Tensor] = torch.onnx.ops.symbolic_multi_out(
        layer.mode.partition("_")[0], inputs, attributes, dtypes=[data.dtype] * len(shapes), shapes=shapes, version=_OPSET
    )
    return outputs


_WEIGHTS, _BIASES = ("weight_ih", "weight_hh"), ("bias_ih", "bias_hh")


def _gates(layer: nn.RNNBase, weight: Tensor) -> Tensor:
    """Return a weight or bias [gates * hidden, …] with its gates in ONNX's order."""
    parts = weight.chunk(len(_GATES[layer.mode]))
    return torch.cat([parts[index] for index in _GATES[layer.mode]])
