"""Large weights of a torch module, moved to files and mapped from them, so that they take no memory until they are used again.

When TensorFlow makes its own copy of the weights, PyTorch has already computed its reference outputs. The module stays
usable: a later call (for a TFLite comparison or a diagnosis) reads the weights from the files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

_LARGE = 1 << 20
"""The size in bytes of the smallest weight that is moved."""


def offload_weights(module: nn.Module, folder: Path) -> None:
    """Replace the memory of the module's large weights by files in `folder`, one weight after the other.

    Each file is unlinked at once and lives as long as its weight. Writing to a weight later changes the module alone.

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
    """Yield the large plain tensors that share their memory with no other weight."""
    weights = {id(w): w for w in (*module.parameters(), *module.buffers())}
    plain = [w for w in weights.values() if _is_plain(w)]
    shared = Counter(w.untyped_storage().data_ptr() for w in plain)
    for weight in plain:
        if weight.nbytes >= _LARGE and shared[weight.untyped_storage().data_ptr()] == 1:
            yield weight


def _is_plain(weight: Tensor) -> bool:
    return type(weight.data) is Tensor and weight.layout is torch.strided and weight.device.type == "cpu"
