"""A two-layer bidirectional LSTM that tags each step of a sequence. Batch and sequence length are dynamic.

    tfbundle build examples/bilstm.py:bilstm -o dist/tagger --input 'features=float32[batch,seq,64]'
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BiLstmTagger(nn.Module):
    """Maps features, float32 [batch, seq, 64], to logits of 12 tags per step, float32 [batch, seq, 12]."""

    def __init__(self, features: int = 64, hidden: int = 128, tags: int = 12) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * hidden, tags)

    def forward(self, features: Tensor) -> Tensor:
        steps, _ = self.lstm(features)
        return self.head(steps)


def bilstm() -> tuple[nn.Module, dict[str, Tensor]]:
    """Return the tagger with random weights, and two example sequences of 32 steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return BiLstmTagger(), {"features": torch.randn(2, 32, 64)}
