"""Recurrent layers during an export: nn.LSTM, nn.GRU and nn.RNN as ONNX's operators of these names, one per layer.

torch's exporter gives the outputs of a recurrent layer the length of the example's sequence, so that whatever uses the length
behind the layer, like attention, is fixed to the example (torch 2.13). Over a packed sequence the operator gets its
`sequence_lens` (https://onnx.ai/onnx/operators/onnx__LSTM.html). ONNX has no projection, so that an LSTM with `proj_size` over a
tensor is left to torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_map

from bundler.errors import ExportError
from bundler.export.packed import check_padded, padded_sequences

_OPSET = 22
"""The opset that defines LSTM, GRU and RNN as this module writes them; torch's exporter converts a graph of another one."""

_GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN_TANH": (0,), "RNN_RELU": (0,)}
"""The order of ONNX's gates in PyTorch's: iofc of ifgo, zrh of rzn."""


@contextlib.contextmanager
def recurrent_operators() -> Iterator[None]:
    """Replace torch's recurrent layers, and its functions for packed sequences, wherever a model has got them from."""
    layers: list[tuple[Any, Callable[..., Any]]] = [(kind, kind.forward) for kind in (nn.LSTM, nn.GRU, nn.RNN)]
    with padded_sequences():
        try:
            for kind, forward in layers:
                kind.forward = _as_operators(forward)
            yield
        finally:
            for kind, forward in layers:
                kind.forward = forward


def _as_operators(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return a recurrent layer's `forward` that traces ONNX's operators, or calls the given one for an LSTM with a projection."""

    def substitute(self: nn.RNNBase, input: Any, hx: Any = None) -> Any:
        if isinstance(input, PackedSequence):
            check_padded(input)
            data, states = run(self, input.data, input.batch_sizes, hx)
            return PackedSequence(data, input.batch_sizes), states
        if self.proj_size:
            return forward(self, input, hx)
        if input.dim() == 2:  # [time, features]: one sequence, without a batch
            data, states = run(self, input.unsqueeze(1), None, tree_map(lambda state: state.unsqueeze(1), hx))
            return data.squeeze(1), tree_map(lambda state: state.squeeze(1), states)
        data, states = run(self, input.transpose(0, 1) if self.batch_first else input, None, hx)
        return data.transpose(0, 1) if self.batch_first else data, states

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
