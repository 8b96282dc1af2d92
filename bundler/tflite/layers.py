"""Layers of a .tflite file under the names that the user knows: PyTorch modules and nodes of the ONNX graph.

The converter names a tensor after the nodes that it was fused from: `node_relu/Relu;node_conv/Conv2D;…`. A node's module follows
from the metadata that torch's exporter writes (`pkg.torch.onnx.name_scopes`) and from the node's weights (`features.0.weight`).
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
"""Name of a layer at the end of the model: the index of its output, with the outputs sorted by name."""


@dataclass(frozen=True)
class Layer:
    """All operators of one kind that a .tflite file has for the same nodes, in all of its signatures.

    Attributes:
        tensors: names of the operators' outputs in the file.
        operator: TFLite's name of the operator, such as `CONV_2D`.
        nodes: the nodes of the ONNX graph that were converted to the operators.
        modules: the nodes' PyTorch modules, the one with the weights first.
    """

    tensors: tuple[str, ...]
    operator: str
    nodes: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name for display: the module, else the node, else the tensor."""
        return (*self.modules, *self.nodes, *self.tensors)[0]

    def matches(self, pattern: str) -> bool:
        """Return whether the pattern (with `*` as a wildcard) matches the operator, a node, a module, or a parent module."""
        if fnmatchcase(self.operator, pattern) or any(fnmatchcase(node, pattern) for node in self.nodes):
            return True
        inside = f"{pattern}.*"
        return any(fnmatchcase(module, pattern) or fnmatchcase(module, inside) for module in self.modules)

    def __str__(self) -> str:
        return f"{self.name} ({self.operator})"


@dataclass(frozen=True)
class Names:
    """The names of a model's layers.

    Attributes:
        modules: PyTorch modules by the scope of a node.
        outputs: scope of the node that computes each output, sorted by the outputs' names.
    """

    modules: Mapping[str, tuple[str, ...]]
    outputs: Sequence[str]

    @classmethod
    def read(cls, path: Path) -> Names:
        """Read the names from an .onnx file, without its external weights."""
        import onnx

        from bundler.converters.native.nodes import layer_scope

        graph = onnx.load(str(path), load_external_data=False).graph
        uses = Counter(source for node in graph.node for source in node.input)
        # A weight that two nodes share (equal weights are stored once) does not identify a module.
        weights = {tensor.name for tensor in graph.initializer if uses[tensor.name] == 1}
        modules = {layer_scope(node): tuple(dict.fromkeys(_modules(node, weights))) for node in graph.node}
        scopes = {output: layer_scope(node) for node in graph.node for output in node.output}
        return cls(modules, [scopes.get(name, "") for name in sorted(output.name for output in graph.output)])

    def layers(self, operators: Iterable[tuple[str, str]]) -> tuple[Layer, ...]:
        """Group the (tensor, operator) pairs of a file into layers, in their order."""
        groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for tensor, operator in operators:
            nodes = tuple(dict.fromkeys(filter(None, (self._node(part) for part in tensor.split(";")))))
            groups.setdefault((operator, nodes or (tensor,)), []).append(tensor)
        return tuple(self._layer(tensors, operator, nodes) for (operator, nodes), tensors in groups.items())

    def _layer(self, tensors: Sequence[str], operator: str, nodes: tuple[str, ...]) -> Layer:
        modules = dict.fromkeys(module for node in reversed(nodes) for module in self.modules.get(node, ()))
        return Layer(tuple(tensors), operator, nodes, tuple(modules))

    def _node(self, part: str) -> str:
        output = _OUTPUT.match(part)
        if output:
            index = int(output[1])
            return self.outputs[index] if index < len(self.outputs) else ""
        return part.partition("/")[0]


def matching_layers(layers: Iterable[Layer], patterns: Sequence[str]) -> tuple[Layer, ...]:
    """Return the layers that match a pattern.

    Raises:
        UsageError: a pattern matches nothing.
    """
    candidates = tuple(layers)
    for pattern in patterns:
        if not any(layer.matches(pattern) for layer in candidates):
            known = list(dict.fromkeys(layer.name for layer in candidates))
            raise UsageError(
                f"No layer of the TFLite file matches {pattern!r} (tflite.float_layers).",
                fix=f"choose from its layers: {listed(known, 12)}",
                code="TFB4005",
            )
    return tuple(layer for layer in candidates if any(layer.matches(pattern) for pattern in patterns))


def listed(layers: Sequence[Layer] | Sequence[str], most: int = 8) -> str:
    """Return the first `most` layers and the number of the others, for a message."""
    more = f" and {len(layers) - most} more" if len(layers) > most else ""
    return ", ".join(map(str, layers[:most])) + more


def tensors(layers: Iterable[Layer]) -> tuple[str, ...]:
    """Return the tensors of all layers."""
    return tuple(tensor for layer in layers for tensor in layer.tensors)


def _modules(node: Any, weights: set[str]) -> Iterator[str]:
    for source in node.input:
        if source in weights and "." in source:
            yield source.rpartition(".")[0]
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            # The first scope is the root, the last is the function; the export wraps the model in "module".
            scopes = ast.literal_eval(entry.value)[1:-1]
            inner = [scope.removeprefix("module").lstrip(".") for scope in scopes]
            yield from filter(None, inner[-1:])
