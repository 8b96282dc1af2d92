"""Reading the graph of a SavedModel: operators, signatures, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bundler.errors import ConversionError
from bundler.values.signature import Signature, TensorSpec

SERVE_TAG = "serve"
"""The tag that TensorFlow Serving loads (servables/tensorflow/saved_model_bundle_source_adapter.cc)."""

_BOOKKEEPING = frozenset({"Const", "Identity", "NoOp", "Placeholder", "ReadVariableOp", "VarHandleOp"})
_MOVE = "Einsum of one operand"
"""The name under which an Einsum that only transposes is counted."""

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_PRODUCTS = frozenset({"BatchMatMulV2", "Conv2D", "Conv2DBackpropInput", "Conv3D", "Conv3DBackpropInputV2", "MatMul"})
_DTYPES = {1: "float32", 2: "float64", 14: "bfloat16", 19: "float16"}
"""Names of types by their number in types.proto."""
_FAKE_QUANT = "FakeQuantWithMinMaxVars"


@dataclass(frozen=True)
class GraphSummary:
    """The nodes that a signature of a SavedModel runs.

    Attributes:
        ops: number of nodes by TensorFlow operator, without constants, reads of variables and calls.
        transposes: number of nodes that move data from one axis order to another.
        weight_bytes: size of the variables on disk.
    """

    ops: dict[str, int]
    transposes: int
    weight_bytes: int

    @property
    def nodes(self) -> int:
        """The number of all nodes."""
        return sum(self.ops.values())

    def to_json(self) -> dict[str, Any]:
        """Return plain data for bundle.json."""
        return {**asdict(self), "nodes": self.nodes}


def summarize(folder: Path, signature: str = "serving_default") -> GraphSummary:
    """Count the nodes that a signature of a SavedModel runs, including those of the functions it calls.

    Raises:
        ConversionError: there is no SavedModel in the folder, or it has no such signature.
    """
    graph = _meta_graph(folder, signature)
    counts = _operators(graph, signature)
    data = folder / "variables"
    weight_bytes = sum(f.stat().st_size for f in data.glob("variables.data-*")) if data.is_dir() else 0
    return GraphSummary(dict(counts.most_common()), _moves(counts), weight_bytes)


def transposes(graph: Any, signature: str) -> int:
    """Count the nodes of a signature of a MetaGraphDef, and of the functions it calls, that change the order of axes."""
    return _moves(_operators(graph, signature))


def products(graph: Any) -> dict[str, int]:
    """Count the convolutions and matrix products of a MetaGraphDef by the type that they compute in, such as `bfloat16`."""
    functions = graph.graph_def.library.function
    nodes = (*graph.graph_def.node, *(node for function in functions for node in function.node_def))
    counts = Counter(_DTYPES.get(node.attr["T"].type, "other") for node in nodes if node.op in _PRODUCTS)
    return dict(counts.most_common())


def _moves(counts: Counter[str]) -> int:
    return counts["Transpose"] + counts[_MOVE]


def input_names(folder: Path, signature: str = "serving_default") -> set[str]:
    """Return the names of a signature's inputs as TensorFlow Serving reads them.

    Raises:
        ConversionError: there is no SavedModel in the folder, or it has no such signature.
    """
    return set(_meta_graph(folder, signature).signature_def[signature].inputs)


def methods(folder: Path, signature: str = "serving_default") -> dict[str, str]:
    """Return the method name of each signature of a SavedModel.

    Args:
        folder: the SavedModel.
        signature: a signature that it has.

    Raises:
        ConversionError: there is no SavedModel in the folder, or it has no such signature.
    """
    signatures = _meta_graph(folder, signature).signature_def
    return {name: signature.method_name for name, signature in signatures.items()}


def example_methods(names: Mapping[str, str]) -> dict[str, str]:
    """Return `classify` or `regress` by signature, for those that Classify or Regress answers.

    Args:
        names: method names by signature, as `methods` returns them.
    """
    kinds = {f"tensorflow/serving/{kind}": kind for kind in ("classify", "regress")}
    return {name: kinds[method] for name, method in sorted(names.items()) if method in kinds}


def signature_def(folder: Path, signature: str) -> Any:
    """Return a signature of a SavedModel as a `tensorflow.SignatureDef` message of `serving.protocol.messages`.

    Raises:
        ConversionError: there is no SavedModel in the folder, or it has no such signature.
    """
    return _meta_graph(folder, signature).signature_def[signature]


def signatures_of(folder: Path) -> dict[str, Signature]:
    """Return the signatures of a SavedModel that a server answers, by name.

    Raises:
        ConversionError: there is no SavedModel in the folder.
    """
    return read_signatures(_served_graph(folder))


def read_signatures(graph: Any) -> dict[str, Signature]:
    """Return the signatures of a MetaGraphDef by name, without TensorFlow's own (`__saved_model_init_op`)."""
    return {
        name: Signature(_specs(definition.inputs), _specs(definition.outputs))
        for name, definition in sorted(graph.signature_def.items())
        if not name.startswith("__")
    }


def _specs(infos: Any) -> tuple[TensorSpec, ...]:
    return tuple(_spec(name, infos[name]) for name in sorted(infos))


def _spec(name: str, info: Any) -> TensorSpec:
    from serving.protocol.messages import message

    dtype = message("tensorflow.TensorInfo").DESCRIPTOR.fields_by_name["dtype"].enum_type
    text = dtype.values_by_number[info.dtype].name.removeprefix("DT_").lower()
    text = {"float": "float32", "double": "float64", "half": "float16"}.get(text, text)
    dims = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
    return TensorSpec(name, text, dims)


def is_quantized(folder: Path) -> bool:
    """Return True if a SavedModel that was lowered for TFLite has fixed scales.

    Raises:
        OSError: the folder contains no SavedModel.
    """
    from serving.protocol.messages import message

    model = message("tensorflow.SavedModel")()
    model.ParseFromString((folder / "saved_model.pb").read_bytes())
    return any(
        node.op.startswith(_FAKE_QUANT)
        for graph in model.meta_graphs
        for function in graph.graph_def.library.function
        for node in function.node_def
    )


def _meta_graph(folder: Path, signature: str) -> Any:
    graph = _served_graph(folder)
    if signature not in graph.signature_def:
        known = ", ".join(sorted(graph.signature_def)) or "none"
        raise ConversionError(
            f"The SavedModel in {folder} has no signature {signature!r}; it has {known}.", code="TFB5106"
        )
    return graph


def _served_graph(folder: Path) -> Any:
    """Return the MetaGraphDef that TensorFlow Serving loads."""
    from google.protobuf.message import DecodeError

    from serving.protocol.messages import message

    model = message("tensorflow.SavedModel")()
    try:
        model.ParseFromString((folder / "saved_model.pb").read_bytes())
    except FileNotFoundError as exc:
        raise ConversionError(
            f"{folder} does not contain a SavedModel (there is no saved_model.pb).", code="TFB5106"
        ) from exc
    except DecodeError as exc:
        raise ConversionError(
            f"{folder / 'saved_model.pb'} is damaged: {exc}.", fix="build it again", code="TFB5106"
        ) from exc
    graph = served_graph(model)
    if graph is None:
        raise ConversionError(
            f"The SavedModel in {folder} has no graph with the tag {SERVE_TAG!r}, which servers load.", code="TFB5106"
        )
    return graph


def served_graph(saved: Any) -> Any | None:
    """Return the MetaGraphDef of a SavedModel message that TensorFlow Serving loads; None if there is none."""
    return next((graph for graph in saved.meta_graphs if SERVE_TAG in graph.meta_info_def.tags), None)


def _operators(graph: Any, signature: str) -> Counter[str]:
    """Return the number of nodes of each operator that a signature runs."""
    functions = {f.signature.name: f for f in graph.graph_def.library.function}
    counts: Counter[str] = Counter()
    _count(_ancestors(graph, signature), functions, counts, [])
    return counts


def _ancestors(graph: Any, signature: str) -> list[Any]:
    """Return the nodes of the main graph that the signature's outputs depend on."""
    nodes = {node.name: node for node in graph.graph_def.node}
    todo = [tensor.name for tensor in graph.signature_def[signature].outputs.values()]
    seen: dict[str, Any] = {}
    while todo:
        name = todo.pop().lstrip("^").split(":")[0]
        if name in nodes and name not in seen:
            seen[name] = nodes[name]
            todo += nodes[name].input
    return list(seen.values())


def _count(nodes: Iterable[Any], functions: dict[str, Any], counts: Counter[str], path: list[str]) -> None:
    """Add the nodes to `counts`, and for each call, branch and loop body the nodes of the function that it names."""
    for node in nodes:
        if node.op not in _BOOKKEEPING and node.op not in _CALLS:
            moves = node.op == "Einsum" and sum(not name.startswith("^") for name in node.input) == 1
            counts[_MOVE if moves else node.op] += 1
        for attr in node.attr.values():
            for name in (attr.func.name, *(function.name for function in attr.list.func)):
                if name in functions and name not in path:
                    _count(functions[name].node_def, functions, counts, [*path, name])
