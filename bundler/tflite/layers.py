"""Layers of a .tflite file by the names that the user knows: PyTorch's modules and the nodes of the ONNX graph.

The converter names a tensor after the nodes it was fused from: `node_relu/Relu;node_conv/Conv2D;…`. A node knows its
module by what torch's exporter notes (`pkg.torch.onnx.name_scopes`) and by its weights (`features.0.weight`).
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bundler.errors import UsageError

_SCOPES = "pkg.torch.onnx.name_scopes"
_OUTPUT = re.compile(r"(?:Stateful)?PartitionedCall(?:_\d+)?:(\d+)")
"""A layer at the end of the model is named after the output; they are counted in the order of their names."""


@dataclass(frozen=True)
class Layer:
    """The operators of one kind that a .tflite file has for the same nodes, in all of its signatures.

    Attributes:
        tensors: names of their outputs in the file.
        operator: TFLite's name, `CONV_2D`.
        nodes: of the ONNX graph that they are made of.
        modules: of PyTorch that these belong to; the one with the weights first.
    """

    tensors: tuple[str, ...]
    operator: str
    nodes: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For people: the module, else the node, else the tensor."""
        return (*self.modules, *self.nodes, *self.tensors)[0]

    def matches(self, pattern: str) -> bool:
        """Whether the pattern (`*` allowed) is its operator, a node, a module, or what a module stands in."""
        if fnmatchcase(self.operator, pattern) or any(fnmatchcase(node, pattern) for node in self.nodes):
            return True
        inside = f"{pattern}.*"
        return any(fnmatchcase(module, pattern) or fnmatchcase(module, inside) for module in self.modules)

    def __str__(self) -> str:
        return f"{self.name} ({self.operator})"


@dataclass(frozen=True)
class Names:
    """What the layers of a model can be called.

    Attributes:
        modules: by the scope of a node.
        outputs: the scope of the node behind each output, in the order of the outputs' names.
    """

    modules: Mapping[str, tuple[str, ...]]
    outputs: Sequence[str]

    @classmethod
    def read(cls, path: Path) -> Names:
        """From an .onnx file; its weights are not read."""
        import onnx

        from bundler.converters.native.nodes import layer_scope

        graph = onnx.load(str(path), load_external_data=False).graph
        uses = Counter(source for node in graph.node for source in node.input)
        # What two nodes share (equal weights are stored once) says nothing of their modules.
        weights = {tensor.name for tensor in graph.initializer if uses[tensor.name] == 1}
        modules = {layer_scope(node): tuple(dict.fromkeys(_modules(node, weights))) for node in graph.node}
        behind = {output: layer_scope(node) for node in graph.node for output in node.output}
        return cls(modules, [behind.get(name, "") for name in sorted(output.name for output in graph.output)])

    def layers(self, operators: Iterable[tuple[str, str]]) -> tuple[Layer, ...]:
        """Of the tensor and operator of each operator of a file, in their order."""
        together: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for tensor, operator in operators:
            nodes = tuple(dict.fromkeys(filter(None, (self._node(part) for part in tensor.split(";")))))
            together.setdefault((operator, nodes or (tensor,)), []).append(tensor)
        return tuple(self._layer(tensors, operator, nodes) for (operator, nodes), tensors in together.items())

    def _layer(self, tensors: Sequence[str], operator: str, nodes: tuple[str, ...]) -> Layer:
        modules = dict.fromkeys(module for node in reversed(nodes) for module in self.modules.get(node, ()))
        return Layer(tuple(tensors), operator, nodes, tuple(modules))

    def _node(self, part: str) -> str:
        output = _OUTPUT.match(part)
        if output:
            index = int(output[1])
            return self.outputs[index] if index < len(self.outputs) else ""
        return part.partition("/")[0]


def chosen(layers: Iterable[Layer], patterns: Sequence[str]) -> tuple[Layer, ...]:
    """The layers that match a pattern.

    Raises:
        UsageError: a pattern matches nothing.
    """
    every = tuple(layers)
    for pattern in patterns:
        if not any(layer.matches(pattern) for layer in every):
            known = list(dict.fromkeys(layer.name for layer in every))
            raise UsageError(
                f"No layer of the TFLite file matches {pattern!r} (tflite.float_layers).",
                fix=f"its layers: {listed(known, 12)}",
            )
    return tuple(layer for layer in every if any(layer.matches(pattern) for pattern in patterns))


def listed(layers: Sequence[Layer] | Sequence[str], most: int = 8) -> str:
    """For a message: the first of them, and how many more."""
    more = f" and {len(layers) - most} more" if len(layers) > most else ""
    return ", ".join(map(str, layers[:most])) + more


def tensors(layers: Iterable[Layer]) -> tuple[str, ...]:
    """The outputs of all operators of the layers."""
    return tuple(tensor for layer in layers for tensor in layer.tensors)


def _modules(node: Any, weights: set[str]) -> Iterator[str]:
    for source in node.input:
        if source in weights and "." in source:
            yield source.rpartition(".")[0]
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            # The first is the root, the last the function; "module" is what the export wraps the model in.
            scopes = ast.literal_eval(entry.value)[1:-1]
            inner = [scope.removeprefix("module").lstrip(".") for scope in scopes]
            yield from filter(None, inner[-1:])
