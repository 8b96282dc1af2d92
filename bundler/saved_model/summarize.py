"""Reading the graph of a SavedModel: operators, signatures, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

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
_VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})
_INDICES = frozenset({3, 9})
_STRING = 7
"""Types by their number in types.proto: int32 and int64; string."""
_FAKE_QUANT = "FakeQuantWithMinMaxVars"


@dataclass(frozen=True)
class GraphSummary:
    """The nodes that a signature of a SavedModel runs.

    Attributes:
        ops: number of nodes by TensorFlow operator, without constants, reads of variables and calls.
        transposes: number of nodes that move data from one axis order to another.
        weight_bytes: size of the weights of all signatures: variables, and the constants of their graphs that hold numbers.
            Scalars and vectors of int32 and int64 are left out; they are shapes, axes and indices.
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
    return _summary(_meta_graph(folder, signature), signature)


class Description(NamedTuple):
    """What the file of a SavedModel says.

    Attributes:
        signatures: the signatures, by name.
        methods: the method name of each signature.
        graph: the nodes that serving_default runs, or else the first signature; None if it has no signature.
    """

    signatures: dict[str, Signature]
    methods: dict[str, str]
    graph: GraphSummary | None


def described(folder: Path) -> Description:
    """Return what a SavedModel's file says, which is read once.

    Raises:
        ConversionError: there is no SavedModel in the folder.
    """
    graph = _served_graph(folder)
    signatures = read_signatures(graph)
    first = "serving_default" if "serving_default" in signatures else next(iter(signatures), None)
    return Description(signatures, _methods(graph), None if first is None else _summary(graph, first))


def _summary(graph: Any, signature: str) -> GraphSummary:
    counts = _operators(graph, signature)
    return GraphSummary(dict(counts.most_common()), _moves(counts), _weight_bytes(graph))


def transposes(graph: Any, signature: str) -> int:
    """Count the nodes of a signature of a MetaGraphDef, and of the functions it calls, that change the order of axes."""
    return _moves(_operators(graph, signature))


def products(graph: Any) -> dict[str, int]:
    """Count the convolutions and matrix products of a MetaGraphDef by the type that they compute in, such as `bfloat16`."""
    functions = graph.graph_def.library.function
    nodes = (*graph.graph_def.node, *(node for function in functions for node in function.node_def))
    counts = Counter(_DTYPES.get(node.attr["T"].type, "other") for node in nodes if node.op in _PRODUCTS)
    return dict(counts.most_common())


def _weight_bytes(graph: Any) -> int:
    """Return the size of variables and numeric constants; a constant counts once in each graph that has it, as in the file."""
    functions = {f.signature.name: f for f in graph.graph_def.library.function}
    seen: set[str] = set()
    names = [name for name in graph.signature_def if not name.startswith("__")]
    main = {node.name: node for name in names for node in _ancestors(graph, name)}
    todo = [list(main.values())]
    size = 0
    while todo:
        for node in todo.pop():
            size += _held_bytes(node)
            for name in _called(node):
                if name in functions and name not in seen:
                    seen.add(name)
                    todo.append(list(functions[name].node_def))
    return size


def _held_bytes(node: Any) -> int:
    """Return the bytes of the numbers that a node holds as a variable or a constant; 0 for a size that the graph does not say."""
    from serving.errors import TensorError
    from serving.protocol.messages import message
    from serving.protocol.tensors import decoded_size

    if node.op in _VARIABLES:
        tensor = message("tensorflow.TensorProto")(dtype=node.attr["dtype"].type, tensor_shape=node.attr["shape"].shape)
    elif node.op == "Const":
        tensor = node.attr["value"].tensor
    else:
        return 0
    is_index = node.op == "Const" and tensor.dtype in _INDICES and len(tensor.tensor_shape.dim) < 2
    if tensor.dtype == _STRING or is_index or tensor.tensor_shape.unknown_rank:
        return 0
    try:
        return decoded_size(tensor)[1]
    except TensorError:  # a dynamic dim, or a type that is no number
        return 0


def _called(node: Any) -> Iterable[str]:
    """Return the names of the functions that a node calls, as a call, a branch or the body of a loop."""
    return (name for attr in node.attr.values() for name in (attr.func.name, *(each.name for each in attr.list.func)))


def _moves(counts: Counter[str]) -> int:
    return counts["Transpose"] + counts[_MOVE]


def input_names(folder: Path, signature: str = "serving_default") -> set[str]:
    """Return the names of a signature's inputs as TensorFlow Serving reads them.

    Raises:
        ConversionError: there is no SavedModel in the folder, or it has no such signature.
    """
    return set(_meta_graph(folder, signature).signature_def[signature].inputs)


def methods(folder: Path) -> dict[str, str]:
    """Return the method name of each signature of a SavedModel.

    Raises:
        ConversionError: there is no SavedModel in the folder.
    """
    return _methods(_meta_graph(folder, "serving_default"))


def _methods(graph: Any) -> dict[str, str]:
    return {name: signature.method_name for name, signature in graph.signature_def.items()}


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
        for name in _called(node):
            if name in functions and name not in path:
                _count(functions[name].node_def, functions, counts, [*path, name])
