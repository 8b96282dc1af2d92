"""An architecture of the zoo, built with random parameters and statistics such that every branch affects the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bundler.sources.torchvision_ops import import_torchvision
from tests.models import RealModel, measure_batch_norm, randomize, seeded, specs_of

Dims = Mapping[str, Mapping[int, str]]
Built = tuple[nn.Module, Mapping[str, Tensor], Dims]
"""A module, its example inputs by parameter of `forward`, and the names of dynamic axes other than the first, the batch."""


@dataclass(frozen=True)
class Entry:
    """An architecture.

    Attributes:
        name: its name, also that of its test.
        family: the group that it belongs to.
        build: makes the module with its inputs.
        fast: whether it is part of `make test`.
        saved: whether a saved and re-loaded SavedModel is tested too.
        signatures: further signatures, as in bundle.yaml.
        transposes: the most transposes that serving_default may have; None if that is not tested.
        nhwc: whether no transpose may be left with layout nhwc.
    """

    name: str
    family: str
    build: Callable[[], Built]
    fast: bool = False
    saved: bool = False
    signatures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    transposes: int | None = None
    nhwc: bool = False

    def make(self) -> RealModel:
        """Return the model in eval mode, without constant parameters, and with BatchNorm statistics of its own inputs."""
        import_torchvision()
        with seeded():
            module, inputs, dims = self.build()
            randomize(module)
            measure_batch_norm(module, **{name: _with_more_rows(tensor) for name, tensor in inputs.items()})
        return RealModel(module.eval(), inputs, specs_of(inputs, dims))


def _with_more_rows(tensor: Tensor) -> Tensor:
    """Return eight rows of the same kind, since two rows are too few for statistics."""
    if not tensor.is_floating_point():
        return tensor.repeat(4, *[1] * (tensor.dim() - 1))
    shape = (3 * tensor.shape[0], *tensor.shape[1:])
    return torch.cat([tensor, torch.randn(shape) * tensor.std() + tensor.mean()])


def image(size: int = 64, *, batch: int = 2, channels: int = 3) -> Tensor:
    """Return standard normal pixels, [batch, channels, size, size]."""
    return torch.randn(batch, channels, size, size)


def tokens(vocabulary: int, length: int = 12, *, batch: int = 2) -> Tensor:
    """Return token ids, [batch, length], without the first five, which are often special."""
    return torch.randint(5, vocabulary, (batch, length))


def padding_mask(length: int = 12, *, batch: int = 2) -> Tensor:
    """Return a mask of ones, [batch, length], whose second row is zero from the middle on."""
    mask = torch.ones(batch, length, dtype=torch.int64)
    mask[1, length // 2 :] = 0
    return mask
