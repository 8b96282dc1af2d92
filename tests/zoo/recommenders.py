"""Recommenders, which cross, pool and compare embeddings of categories."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.zoo.entry import Built, Entry

FAMILY = "recommenders"


class Dlrm(nn.Module):
    """DLRM: a network for dense features, embeddings of categories, and the dot products of all pairs."""

    def __init__(self, dense: int = 5, categories: int = 4, rows: int = 30, width: int = 8) -> None:
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(dense, 16), nn.ReLU(), nn.Linear(16, width), nn.ReLU())
        self.tables = nn.ModuleList(nn.Embedding(rows, width) for _ in range(categories))
        pairs = torch.tril_indices(categories + 1, categories + 1, -1)
        self.register_buffer("first", pairs[0])
        self.register_buffer("second", pairs[1])
        self.top = nn.Sequential(nn.Linear(width + pairs.shape[1], 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid())

    def forward(self, dense: Tensor, categories: Tensor) -> Tensor:
        x = self.bottom(dense)
        vectors = torch.stack([x, *(table(categories[:, i]) for i, table in enumerate(self.tables))], 1)
        products = torch.bmm(vectors, vectors.transpose(1, 2))
        return self.top(torch.cat([x, products[:, self.first, self.second]], 1))


class WideAndDeep(nn.Module):
    """The sum of a linear model over crossed categories and a deep model over their embeddings."""

    def __init__(self, rows: int = 20, width: int = 8) -> None:
        super().__init__()
        self.rows = rows
        self.wide = nn.Embedding(rows * rows, 1)
        self.tables = nn.ModuleList(nn.Embedding(rows, width) for _ in range(2))
        self.deep = nn.Sequential(nn.Linear(2 * width + 3, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, user: Tensor, item: Tensor, numbers: Tensor) -> Tensor:
        crossed = (user * self.rows + item) % (self.rows * self.rows)
        logged = torch.sign(numbers) * torch.log1p(numbers.abs())
        deep = self.deep(torch.cat([self.tables[0](user), self.tables[1](item), logged], 1))
        return torch.sigmoid(self.wide(crossed) + deep)[:, 0]


class TwoTower(nn.Module):
    """The score of an item for a user's history, pooled by EmbeddingBag; each tower is a separate signature too."""

    def __init__(self, items: int = 40, width: int = 12) -> None:
        super().__init__()
        self.history = nn.EmbeddingBag(items, width, mode="mean")
        self.items = nn.Embedding(items, width)
        self.user = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 8))
        self.item = nn.Linear(width, 8)

    def forward(self, history: Tensor, item: Tensor) -> dict[str, Tensor]:
        user, candidate = self.embed_user(history), self.embed_item(item)
        return {"score": (user * candidate).sum(1), "user": user}

    def embed_user(self, history: Tensor) -> Tensor:
        return functional.normalize(self.user(self.history(history)), dim=1)

    def embed_item(self, item: Tensor) -> Tensor:
        return functional.normalize(self.item(self.items(item)), dim=1)


class DeepFm(nn.Module):
    """A factorization machine over all fields of one table, a deep part, and a cross network (DCN)."""

    def __init__(self, fields: int = 6, rows: int = 20, width: int = 8) -> None:
        super().__init__()
        self.register_buffer("offsets", torch.arange(fields) * rows)
        self.table = nn.Embedding(fields * rows, width)
        self.linear = nn.Embedding(fields * rows, 1)
        self.crosses = nn.ModuleList(nn.Linear(fields * width, fields * width) for _ in range(2))
        self.deep = nn.Sequential(nn.Linear(fields * width, 16), nn.Dropout(0.2), nn.SELU(), nn.Linear(16, 1))
        self.leave = nn.Linear(fields * width, 1)

    def forward(self, fields: Tensor) -> Tensor:
        places = fields + self.offsets
        vectors = self.table(places)
        pairs = (vectors.sum(1).square() - vectors.square().sum(1)).sum(1, keepdim=True) / 2
        flat = crossed = vectors.flatten(1)
        for cross in self.crosses:
            crossed = flat * cross(crossed) + crossed
        return torch.sigmoid(self.linear(places).sum(1) + pairs + self.deep(flat) + self.leave(crossed))


class SequentialRecommender(nn.Module):
    """SASRec: self-attention over the last items; the ten best items that are not in the history."""

    def __init__(self, items: int = 40, width: int = 16, longest: int = 32) -> None:
        super().__init__()
        self.items = nn.Embedding(items, width, padding_idx=0)
        self.places = nn.Embedding(longest, width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, width))

    def forward(self, history: Tensor) -> tuple[Tensor, Tensor]:
        length = history.shape[1]
        x = self.items(history) * 4 + self.places(torch.arange(length))
        later = torch.full((length, length), float("-inf")).triu(1)
        x = self.norm(x + self.attention(x, x, x, attn_mask=later, need_weights=False)[0])
        scores = (x + self.feed(x))[:, -1] @ self.items.weight.T
        unseen = scores.scatter(1, history, float("-inf"))
        return torch.topk(unseen, 10)


def dlrm() -> Built:
    return Dlrm(), {"dense": torch.randn(2, 5), "categories": torch.randint(0, 30, (2, 4))}, {}


def wide_and_deep() -> Built:
    inputs = {"user": torch.randint(0, 20, (2,)), "item": torch.randint(0, 20, (2,)), "numbers": torch.randn(2, 3)}
    return WideAndDeep(), inputs, {}


def two_tower() -> Built:
    inputs = {"history": torch.randint(0, 40, (2, 6)), "item": torch.randint(0, 40, (2,))}
    return TwoTower(), inputs, {"history": {1: "seq"}}


TOWERS = {
    "user": {"method": "embed_user", "inputs": ("history=int64[batch,seq]",)},
    "item": {"method": "embed_item", "inputs": ("item=int64[batch]",)},
}


def deep_fm() -> Built:
    return DeepFm(), {"fields": torch.randint(0, 20, (2, 6))}, {}


def sequential() -> Built:
    return SequentialRecommender(), {"history": torch.randint(1, 40, (2, 8))}, {"history": {1: "seq"}}


ENTRIES = (
    Entry("dlrm", FAMILY, dlrm, fast=True, saved=True),
    Entry("wide_and_deep", FAMILY, wide_and_deep),
    Entry("two_tower", FAMILY, two_tower, saved=True, signatures=TOWERS),
    Entry("deep_fm", FAMILY, deep_fm),
    Entry("sequential_recommender", FAMILY, sequential),
)
