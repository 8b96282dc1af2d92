"""Packed sequences during an export: padded tensors with the lengths of their rows.

torch's PackedSequence holds the valid steps of all rows one after the other, so its sizes depend on values, and torch's exporter
cannot trace the recurrent layers over it (torch 2.13: `zeros(): argument 'size' failed to unpack`). During the export

1. `pack_padded_sequence` keeps the padded tensor, time first and in the order of the batch, and the lengths in place of
   `batch_sizes`;
2. `recurrent` writes nn.LSTM, nn.GRU and nn.RNN over such a sequence with the lengths;
3. `pad_packed_sequence` fills the steps behind each row's length, and cuts the result to the longest row or to `total_length`.

PyTorch computes the reference outputs with its own functions, so parity compares this with the real layers and packed sequences.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence

from bundler.errors import ExportError

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
    """Replace torch's functions for packed sequences, wherever a model has got them from."""
    functions: list[tuple[Any, Any]] = [(rnn.pack_padded_sequence, _pack_padded), (rnn.pad_packed_sequence, _pad_packed)]
    originals = [function.__code__ for function, _ in functions]
    try:
        for function, substitute in functions:
            function.__code__ = substitute.__code__
        yield
    finally:
        for (function, _), original in zip(functions, originals, strict=True):
            function.__code__ = original
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
