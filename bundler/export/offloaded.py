"""Large weights of a torch module, put into a file and mapped from it, so that they take no memory until they are used again.

PyTorch has answered everything that a build asks by the time TensorFlow makes its own copy of the weights. The module stays
whole: what is asked of it later (a TFLite comparison, a diagnosis) reads the weights from the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

_PARKED = 1 << 20
"""Bytes of a weight from which it goes into the file."""


def park(module: nn.Module, folder: Path) -> None:
    """Replace the memory of the module's large weights by files in `folder`, one after the other.

    A file loses its name at once and lives as long as its weight. What is written to a weight later changes the module alone.

    Raises:
        OSError: a file cannot be written (a full disk, say).
    """
    file = folder / "weight"
    for weight in _large(module):
        data = weight.data.contiguous()
        file.write_bytes(data.view(-1).view(torch.uint8).numpy().data)
        mapped = torch.from_file(str(file), shared=False, size=data.nbytes, dtype=torch.uint8)
        weight.data = mapped.view(data.dtype).view(data.shape)
        file.unlink()


def _large(module: nn.Module) -> Iterator[Tensor]:
    """Plain tensors in memory that share it with no other weight."""
    weights = {id(w): w for w in (*module.parameters(), *module.buffers())}
    plain = [w for w in weights.values() if _is_plain(w)]
    shared = Counter(w.untyped_storage().data_ptr() for w in plain)
    for weight in plain:
        if weight.nbytes >= _PARKED and shared[weight.untyped_storage().data_ptr()] == 1:
            yield weight


def _is_plain(weight: Tensor) -> bool:
    return type(weight.data) is Tensor and weight.layout is torch.strided and weight.device.type == "cpu"
