"""A model that scores rows of a table with integer (category), boolean (flag) and float (measure) columns.

    tfbundle build examples/tabular_mlp.py:tabular_mlp -o dist/scorer
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TabularMlp(nn.Module):
    """Scores rows of a table.

    Inputs: category int64 [batch, 3] in 0..99, flags bool [batch, 4], measures float32 [batch, 8].
    Output: score float32 [batch, 1] in 0..1.
    """

    def __init__(self, categories: int = 100, hidden: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(categories, 8)
        self.normalize = nn.BatchNorm1d(8)
        self.layers = nn.Sequential(
            nn.Linear(3 * 8 + 4 + 8, hidden), nn.GELU(), nn.LayerNorm(hidden),
            nn.Linear(hidden, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, category: Tensor, flags: Tensor, measures: Tensor) -> Tensor:
        columns = [self.embedding(category).flatten(1), flags.to(measures.dtype), self.normalize(measures)]
        return self.layers(torch.cat(columns, dim=1))


def tabular_mlp() -> tuple[nn.Module, dict[str, Tensor]]:
    """Return the scorer with random weights, and two example rows."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TabularMlp()
        nn.init.normal_(model.normalize.running_mean, std=0.1)
        nn.init.uniform_(model.normalize.running_var, 0.5, 1.5)
        rows = {
            "category": torch.randint(0, 100, (2, 3)),
            "flags": torch.rand(2, 4) > 0.5,
            "measures": torch.randn(2, 8),
        }
        return model, rows
