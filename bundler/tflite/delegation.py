"""The share of a .tflite file that XNNPACK, LiteRT's library of fast CPU kernels, runs.

LiteRT offers the graph to the delegate when it prepares a file. The delegate runs the nodes that it accepts in partitions; every
boundary between a partition and LiteRT's own kernels costs a copy and a change of memory layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundler.tflite.runner import prepare_interpreter
from serving.texts import plural

DELEGATE = "DELEGATE"
"""LiteRT's operator name for a partition."""


@dataclass(frozen=True)
class Delegation:
    """The part of a file's main graph that XNNPACK runs; branches and loop bodies are not counted.

    Attributes:
        nodes: number of nodes in the graph.
        delegated: number of nodes that XNNPACK runs.
        partitions: number of partitions in which it runs them.
        left: counts of the other nodes, by operator name.
    """

    nodes: int
    delegated: int
    partitions: int
    left: Mapping[str, int]

    @property
    def share(self) -> float:
        """The delegated share of the nodes, from 0 to 1; 1 for an empty graph."""
        return self.delegated / self.nodes if self.nodes else 1.0

    def to_json(self) -> dict[str, Any]:
        """Return the record for bundle.json."""
        return {
            "delegate": "XNNPACK", "nodes": self.nodes, "delegated": self.delegated, "share": round(self.share, 4),
            "partitions": self.partitions, **({"left": dict(self.left)} if self.left else {}),
        }  # fmt: skip

    def __str__(self) -> str:
        left = ", ".join(f"{count} {name}" for name, count in self.left.items())
        parts = f" in {plural(self.partitions, 'partition')}" if self.delegated else ""
        return f"XNNPACK runs {self.delegated} of {self.nodes} nodes{parts}" + (f"; not {left}" if left else "")


def delegation(path: Path) -> Delegation:
    """Prepare a file as an app would, and return what the delegate accepted.

    Raises:
        TfliteError: LiteRT cannot prepare the file.
    """
    # LiteRT has no public function for this. The graph keeps its nodes and gains one node for each partition.
    details: Sequence[Mapping[str, Any]] = prepare_interpreter(path, threads=1)._get_ops_details()
    nodes = [node for node in details if node["op_name"] != DELEGATE]
    partitions = [node for node in details if node["op_name"] == DELEGATE]
    delegated = {index for partition in partitions for index in _partition_nodes(partition, nodes)}
    left = Counter(node["op_name"] for index, node in enumerate(nodes) if index not in delegated)
    return Delegation(len(nodes), len(delegated), len(partitions), dict(left.most_common()))


def _partition_nodes(partition: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> set[int]:
    """Return the indices of all nodes between a partition's inputs and its outputs."""
    producers = {int(tensor): index for index, node in enumerate(nodes) for tensor in node["outputs"]}
    inputs = {int(tensor) for tensor in partition["inputs"]}
    queue, indices = [int(tensor) for tensor in partition["outputs"]], set[int]()
    while queue:
        tensor = queue.pop()
        if tensor in inputs or tensor not in producers or producers[tensor] in indices:
            continue
        indices.add(producers[tensor])
        queue += [int(source) for source in nodes[producers[tensor]]["inputs"]]
    return indices
