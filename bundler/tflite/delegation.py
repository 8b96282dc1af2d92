"""How much of a .tflite file XNNPACK, LiteRT's fast kernels for CPUs, takes over.

LiteRT asks the delegate when it prepares a file. What it takes it runs in a few partitions; every border between a partition
and LiteRT's own kernels costs a copy and the delegate's own memory layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.tflite.runner import prepared

DELEGATE = "DELEGATE"
"""LiteRT's name for a partition."""


@dataclass(frozen=True)
class Delegation:
    """What XNNPACK runs of a file's main graph (branches and bodies of loops are not counted).

    Attributes:
        nodes: all nodes of the graph.
        delegated: those that XNNPACK runs, in `partitions` pieces.
        left: operators of the others, by name.
    """

    nodes: int
    delegated: int
    partitions: int
    left: Mapping[str, int]

    @property
    def share(self) -> float:
        """0 to 1; 1 for an empty graph."""
        return self.delegated / self.nodes if self.nodes else 1.0

    def to_json(self) -> dict[str, Any]:
        return {
            "delegate": "XNNPACK", "nodes": self.nodes, "delegated": self.delegated, "share": round(self.share, 4),
            "partitions": self.partitions, **({"left": dict(self.left)} if self.left else {}),
        }  # fmt: skip

    def __str__(self) -> str:
        left = ", ".join(f"{count} {name}" for name, count in self.left.items())
        return f"XNNPACK runs {self.delegated} of {self.nodes} nodes" + (f"; not {left}" if left else "")


def delegation(path: Path) -> Delegation:
    """Prepare the file as an app would, and see what the delegate took.

    Raises:
        TfliteError: LiteRT cannot prepare it.
    """
    # There is no public way: the graph keeps its nodes, and has one more for each partition.
    details: Sequence[Mapping[str, Any]] = prepared(path, threads=1)._get_ops_details()
    nodes = [node for node in details if node["op_name"] != DELEGATE]
    partitions = [node for node in details if node["op_name"] == DELEGATE]
    taken = {index for partition in partitions for index in _behind(partition, nodes)}
    left = Counter(node["op_name"] for index, node in enumerate(nodes) if index not in taken)
    return Delegation(len(nodes), len(taken), len(partitions), dict(left.most_common()))


def _behind(partition: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> set[int]:
    """The nodes that a partition stands for: all that lie between its inputs and its outputs."""
    maker = {int(tensor): index for index, node in enumerate(nodes) for tensor in node["outputs"]}
    borders = {int(tensor) for tensor in partition["inputs"]}
    waiting, found = [int(tensor) for tensor in partition["outputs"]], set[int]()
    while waiting:
        tensor = waiting.pop()
        if tensor in borders or tensor not in maker or maker[tensor] in found:
            continue
        found.add(maker[tensor])
        waiting += [int(source) for source in nodes[maker[tensor]]["inputs"]]
    return found
