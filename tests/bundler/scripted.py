"""A module for torch.jit.script, which reads its source from a file."""

from typing import Tuple  # noqa: UP035

import torch
from torch import Tensor, nn


class Loop(nn.Module):
    """Repeats a layer once for each row while the sum stays positive."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor, times: int = 2) -> Tensor:
        for _ in range(x.shape[0]):
            if bool(x.sum() > 0):
                x = torch.tanh(self.layer(x))
        return x * times

    @torch.jit.export
    def both(self, x: Tensor) -> Tuple[Tensor, Tensor]:  # noqa: UP006
        return self.layer(x), x * 2
