"""Which operators of a .tflite file GPUs, Core ML and NPUs take, by the delegates' own lists.

`delegates.json` has, for each delegate, the operators that it takes, the types of their tensors (constants do not count) and the
most axes, with the source and its date; null means that the source states no such rule. The lists cannot say whether a driver
rejects a node for another reason, such as an unusual stride, so that a node that passes them may still fall out on a device.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bundler.errors import UsageError
from bundler.tflite.contents import graph_nodes

DATA = Path(__file__).with_name("delegates.json")


@dataclass(frozen=True)
class Node:
    """A node of a file's main graph.

    Attributes:
        op: the operator's name in TFLite.
        layer: the layer, from the name of its first output.
        types: the types of its tensors that are not constants, and INT4 if it has constants in int4.
        axes: the most axes of a tensor.
        dynamic: whether a tensor has a size that is only known at run time.
        unpacks_half: whether it converts a float16 constant to float32, as in every file with float16 weights.
    """

    op: str
    layer: str
    types: tuple[str, ...]
    axes: int
    dynamic: bool
    unpacks_half: bool = False


@dataclass(frozen=True)
class FallOut:
    """Nodes that a delegate does not take, for one reason."""

    op: str
    why: str
    layers: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(dict.fromkeys(self.layers[:3])) + (" and more" if len(self.layers) > 3 else "")
        return f"{len(self.layers)} {self.op}: {self.why} (in {shown})"


@dataclass(frozen=True)
class Readiness:
    """How much of a file's main graph a delegate takes.

    Attributes:
        delegate: the delegate.
        nodes: number of nodes.
        fallen: the nodes that it does not take.
    """

    delegate: Delegate
    nodes: int
    fallen: tuple[FallOut, ...]

    @property
    def taken(self) -> int:
        """Number of nodes that the delegate takes."""
        return self.nodes - sum(len(each.layers) for each in self.fallen)

    def to_json(self) -> dict[str, Any]:
        """Return the record for `tfbundle inspect --json`."""
        return {
            "title": self.delegate.title, "nodes": self.nodes, "taken": self.taken,
            "fallen": [{"op": each.op, "why": each.why, "layers": list(each.layers)} for each in self.fallen],
            "source": self.delegate.source, "date": self.delegate.date,
        }  # fmt: skip


@dataclass(frozen=True)
class Delegate:
    """A delegate's list.

    Attributes:
        name: the name that `--delegate` takes.
        title: its full name.
        ops: the operators that it takes.
        types: types of the tensors that it takes; None if any.
        op_types: the same for single operators.
        most_axes: the most axes of a tensor; None if any.
        half_weights: whether it reads float16 constants itself, so that the nodes that convert them are dropped.
        source: where the list was read.
        date: the date of the source.
    """

    name: str
    title: str
    ops: frozenset[str]
    types: tuple[str, ...] | None
    op_types: Mapping[str, Sequence[str]]
    most_axes: int | None
    half_weights: bool
    source: str
    date: str

    def refusal(self, node: Node) -> str | None:
        """Return why the delegate does not take a node; None if it does."""
        if node.unpacks_half and self.half_weights:
            return None
        if node.op not in self.ops:
            return "the delegate does not have this operator"
        if node.dynamic:
            return "a size is only known at run time"
        allowed = self.op_types.get(node.op, self.types)
        wrong = [kind for kind in node.types if allowed is not None and kind not in allowed]
        if wrong:
            return f"the delegate does not take {', '.join(dict.fromkeys(wrong))} here"
        if self.most_axes is not None and node.axes > self.most_axes:
            return f"{node.axes} axes; the delegate takes {self.most_axes}"
        return None


def readiness(file: bytes, delegates: Sequence[Delegate]) -> tuple[Readiness, ...]:
    """Return what each delegate takes of a .tflite file's main graph."""
    nodes = tuple(_nodes(file))
    return tuple(Readiness(delegate, len(nodes), tuple(_fallen(nodes, delegate))) for delegate in delegates)


def _fallen(nodes: Sequence[Node], delegate: Delegate) -> Iterator[FallOut]:
    groups: dict[tuple[str, str], list[str]] = {}
    for node in nodes:
        why = delegate.refusal(node)
        if why is not None:
            groups.setdefault((node.op, why), []).append(node.layer)
    yield from (FallOut(op, why, tuple(layers)) for (op, why), layers in groups.items())


def _nodes(file: bytes) -> Iterator[Node]:
    for name, tensors in graph_nodes(file):
        moving = [tensor for tensor in tensors if not tensor.constant]
        layer = tensors[-1].name.partition("/")[0].partition(";")[0] if tensors else ""
        packed = [tensor.type for tensor in tensors if tensor.constant and tensor.type == "INT4"]  # no list has them
        types = tuple(dict.fromkeys([*(tensor.type for tensor in moving), *packed]))
        axes = max((len(tensor.dims) for tensor in tensors), default=0)
        is_half = name == "DEQUANTIZE" and tensors[0].constant and tensors[0].type == "FLOAT16"
        yield Node(name, layer, types, axes, any(size < 0 for tensor in moving for size in tensor.dims), is_half)


def chosen(names: Sequence[str]) -> tuple[Delegate, ...]:
    """Return the delegates of these names, or all of them if there are no names.

    Raises:
        UsageError: a name is unknown; the message lists those that there are.
    """
    known = known_delegates()
    for name in names:
        if name.lower() not in known:
            raise UsageError(f"Unknown delegate {name!r}.", fix=f"choose from: {', '.join(known)}", code="TFB1006")
    return tuple(known[name.lower()] for name in names) or tuple(known.values())


@cache
def known_delegates() -> dict[str, Delegate]:
    """Return the delegates by name."""
    rows = json.loads(DATA.read_text("utf-8"))
    return {
        name: Delegate(name, **{**row, "ops": frozenset(row["ops"]), "types": tuple(row["types"]) if row["types"] else None})
        for name, row in rows.items()
    }
