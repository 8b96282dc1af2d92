"""A model with several inputs and outputs: it takes an image and a caption, and returns nested outputs.

    tfbundle build examples/multi_io.py:multi_io -o dist/matcher
    tfbundle build examples/multi_io.py:multi_io_dataclass -o dist/matcher
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Match:
    """The outputs of `MatcherDataclass`."""

    similarity: Tensor
    image_embedding: Tensor
    caption_embedding: Tensor


class Matcher(nn.Module):
    """Compares images with captions.

    Inputs: image float32 [batch, 3, 32, 32], caption int64 [batch, 6] in 0..49, mask bool [batch, 6].
    Outputs: similarity float32 [batch], and the embeddings, float32 [batch, 16], as a nested dict.
    """

    def __init__(self, vocabulary: int = 50, size: int = 16) -> None:
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.SiLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, size),
        )  # fmt: skip
        self.words = nn.Embedding(vocabulary, size)

    def forward(self, image: Tensor, caption: Tensor, mask: Tensor) -> dict[str, Tensor | dict[str, Tensor]]:
        weight = mask.unsqueeze(-1).to(image.dtype)
        words = (self.words(caption) * weight).sum(1) / weight.sum(1).clamp(min=1)
        picture = self.image(image)
        similarity = nn.functional.cosine_similarity(picture, words, dim=1)
        return {"similarity": similarity, "embedding": {"image": picture, "caption": words}}


class MatcherDataclass(Matcher):
    """A `Matcher` that returns a dataclass."""

    def forward(self, image: Tensor, caption: Tensor, mask: Tensor) -> Match:  # type: ignore[override]
        answer = super().forward(image, caption, mask)
        return Match(answer["similarity"], answer["embedding"]["image"], answer["embedding"]["caption"])


def _examples() -> dict[str, Tensor]:
    return {
        "image": torch.rand(2, 3, 32, 32),
        "caption": torch.randint(0, 50, (2, 6)),
        "mask": torch.tensor([[True] * 6, [True] * 4 + [False] * 2]),
    }


def multi_io() -> tuple[nn.Module, dict[str, Tensor]]:
    """Return the matcher with random weights and nested outputs, and two example pairs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Matcher(), _examples()


def multi_io_dataclass() -> tuple[nn.Module, dict[str, Tensor]]:
    """Return the matcher that returns a dataclass, with random weights, and two example pairs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MatcherDataclass(), _examples()
