"""One architecture of the zoo, and how its module becomes a model whose every branch counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bundler.sources.torchvision_ops import import_torchvision
from tests.models import RealModel, measure_batch_norm, randomize, seeded, specs_of

Dims = Mapping[str, Mapping[int, str]]
Made = tuple[nn.Module, Mapping[str, Tensor], Dims]


@dataclass(frozen=True)
class Entry:
    """An architecture.

    Attributes:
        build: gives the module, example inputs by name of `forward`'s parameters, and names for dynamic axes beside the
            first, which is `batch`.
        fast: part of `make test`.
        saved: run through a saved and re-loaded SavedModel too.
        signatures: further signatures, as in a bundle.yaml.
        transposes: at most so many transposes of data in serving_default (None: not said).
        nhwc: with layout nhwc none is left.
    """

    name: str
    family: str
    build: Callable[[], Made]
    fast: bool = False
    saved: bool = False
    signatures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    transposes: int | None = None
    nhwc: bool = False

    def make(self) -> RealModel:
        """The model in eval mode: no constant parameters, BatchNorm with the statistics of its own inputs."""
        import_torchvision()
        with seeded():
            module, inputs, dims = self.build()
            randomize(module)
            measure_batch_norm(module, **{name: _more_rows(tensor) for name, tensor in inputs.items()})
        return RealModel(module.eval(), inputs, specs_of(inputs, dims))


def _more_rows(tensor: Tensor) -> Tensor:
    """Statistics over two rows would be those of two points: six more rows of the same nature."""
    if not tensor.is_floating_point():
        return tensor.repeat(4, *[1] * (tensor.dim() - 1))
    shape = (3 * tensor.shape[0], *tensor.shape[1:])
    return torch.cat([tensor, torch.randn(shape) * tensor.std() + tensor.mean()])


def image(size: int = 64, *, batch: int = 2, channels: int = 3) -> Tensor:
    """Standard normal pixels."""
    return torch.randn(batch, channels, size, size)


def tokens(vocabulary: int, length: int = 12, *, batch: int = 2) -> Tensor:
    """Token ids without the first five, which are often special."""
    return torch.randint(5, vocabulary, (batch, length))


def padding_mask(length: int = 12, *, batch: int = 2) -> Tensor:
    """Each row ones, the second followed by zeros."""
    mask = torch.ones(batch, length, dtype=torch.int64)
    mask[1, length // 2 :] = 0
    return mask
