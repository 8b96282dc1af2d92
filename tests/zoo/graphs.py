"""Graph networks, which sum messages along edges at nodes. A row is a graph with eight nodes and any number of edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.zoo.entry import Built, Entry

FAMILY = "graphs"
NODES = 8


def flat(nodes: Tensor, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Join the graphs of a batch into one: all nodes in one list, and edges as positions in it."""
    first = torch.arange(nodes.shape[0])[:, None] * nodes.shape[1]
    return nodes.flatten(0, 1), (source + first).flatten(), (target + first).flatten()


class Convolution(nn.Module):
    """GCN: messages normalized by both degrees, summed at the nodes with index_add; the output is the mean of a graph."""

    def __init__(self, width: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(5, width), nn.Linear(width, classes)])

    def forward(self, nodes: Tensor, source: Tensor, target: Tensor) -> Tensor:
        x, begin, end = flat(nodes, source, target)
        degree = torch.ones(x.shape[0]).index_add(0, end, torch.ones(end.shape[0]))
        weight = (degree[begin] * degree[end]).rsqrt()[:, None]
        for layer in self.layers:
            y = layer(x)
            x = torch.relu((y / degree[:, None]).index_add(0, end, y[begin] * weight))
        return x.unflatten(0, (-1, NODES)).mean(1)


class Attention(nn.Module):
    """GAT with two heads: a softmax over the incoming edges of each node, by scatter_reduce with amax and scatter_add."""

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.enter = nn.Linear(5, width * heads)
        self.from_source = nn.Parameter(torch.randn(heads, width))
        self.to_target = nn.Parameter(torch.randn(heads, width))

    def forward(self, nodes: Tensor, source: Tensor, target: Tensor) -> Tensor:
        rows, begin, end = flat(nodes, source, target)
        x = self.enter(rows).unflatten(1, (self.heads, -1))
        raw = (x * self.from_source).sum(-1)[begin] + (x * self.to_target).sum(-1)[end]
        raw = nn.functional.leaky_relu(raw, 0.2)
        at = end[:, None].expand(-1, self.heads)
        empty = torch.zeros(rows.shape[0], self.heads)
        largest = empty.scatter_reduce(0, at, raw, "amax", include_self=False)
        parts = torch.exp(raw - largest[end])
        weights = parts / empty.scatter_add(0, at, parts)[end]
        messages = (x[begin] * weights[..., None]).flatten(1)
        summed = torch.zeros(rows.shape[0], messages.shape[1]).index_add(0, end, messages)
        return nn.functional.elu(summed).unflatten(0, (-1, NODES))


class PointCloud(nn.Module):
    """A network similar to PointNet++: the four nearest neighbours of each point, a shared network, and max pooling."""

    def __init__(self, width: int = 16, classes: int = 4) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width))
        self.leave = nn.Linear(width, classes)

    def forward(self, points: Tensor) -> Tensor:
        distances = torch.cdist(points, points)
        nearest = distances.topk(4, largest=False).indices
        rows = nearest.flatten(1)[..., None].expand(-1, -1, 3)
        around = points.gather(1, rows).unflatten(1, (-1, 4))
        middle = points[:, :, None].expand_as(around)
        x = self.shared(torch.cat([middle, around - middle], -1)).amax(2)
        return self.leave(x.amax(1))


def graph() -> tuple[dict[str, Tensor], dict[str, dict[int, str]]]:
    ends = {name: torch.randint(0, NODES, (2, 14)) for name in ("source", "target")}
    return {"nodes": torch.randn(2, NODES, 5), **ends}, {name: {1: "edges"} for name in ends}


def gcn() -> Built:
    inputs, dims = graph()
    return Convolution(), inputs, dims


def gat() -> Built:
    inputs, dims = graph()
    return Attention(), inputs, dims


def point_cloud() -> Built:
    return PointCloud(), {"points": torch.randn(2, 12, 3)}, {"points": {1: "points"}}


ENTRIES = (
    Entry("gcn", FAMILY, gcn, fast=True, saved=True),
    Entry("gat", FAMILY, gat),
    Entry("point_cloud", FAMILY, point_cloud),
)
