"""Models whose mobile exports run in a browser: an image classifier, a text encoder with a mask, a recurrent model."""

from __future__ import annotations

import torch
from torch import nn

WORDS, CLASSES = 50, 3


class Photo(nn.Module):
    """Classifies an image."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Hardswish())
        self.head = nn.Linear(8, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.head(self.features(image).mean((2, 3)))


class Text(nn.Module):
    """Classifies a text; ids and class are int64, and the mask is bool."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.wide = nn.Embedding(WORDS, 32), nn.Linear(32, 32)
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the logits, the class and whether the text is long."""
        words = self.norm(self.wide(self.words(ids)))
        scores = (words @ words.transpose(1, 2)).masked_fill(~mask[:, None, :], -1e4)
        logits = self.head((scores.softmax(-1) @ words).mean(1))
        return logits, logits.argmax(-1), mask.sum(-1) > 3


class Series(nn.Module):
    """Reads a series with a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(4, 8, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        return self.head(self.recurrent(series)[0][:, -1])


def _seeded(cls: type[nn.Module]) -> nn.Module:
    torch.manual_seed(7)
    return cls().eval()


def photo() -> nn.Module:
    """Return the image classifier."""
    return _seeded(Photo)


def text() -> nn.Module:
    """Return the text classifier."""
    return _seeded(Text)


def series() -> nn.Module:
    """Return the recurrent model."""
    return _seeded(Series)
