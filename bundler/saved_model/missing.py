"""What a release of TensorFlow Serving lacks for a SavedModel, found without running it.

The rules are those that the releases 2.12 to 2.21 follow when they load and run a SavedModel, tried with the C++ loader of each:

1. An operator that is not registered ends the load if the main graph has it ("Op type not registered"). SavedModels of
   TensorFlow 2 have their nodes in functions, and there it ends the calls of the signatures that run it; others can be called.
2. A node without a CPU kernel for its types, or with a value that is not allowed, ends each call that runs it ("No OpKernel was
   registered"). Which types an operator takes changes more often than the operators do.
3. A warm-up record is such a call, and if it fails, the server does not load the version.
4. An attribute that is unknown is ignored. So one with its default value does no harm (TensorFlow does not even write it, see
   `stripped_default_attrs`), and with any other value the node computes something else than it should, unless the attribute
   changes no result.
5. A graph states the oldest release that may read it (`min_consumer`), and a release the oldest graph that it reads.

A node on a GPU counts too: a server places one without a kernel for GPUs on the CPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bundler.errors import VerifyError
from bundler.saved_model.op_values import plain_value, type_code, type_name
from bundler.saved_model.releases import Attribute, Release, is_internal, known_releases, read_release
from bundler.saved_model.summarize import SERVE_TAG, served_graph
from serving.protocol.graph_reach import GraphIndex, Reach
from serving.protocol.saved_model_file import read_saved_model
from serving.protocol.unsafe_ops import shown

LOADING = "(loading)"
"""Stands for a signature's name where a server runs a part when it loads the model."""

_WARM_UP = Path("assets.extra", "tf_serving_warmup_requests")
"""Where a server looks for warm-up records (servables/tensorflow/saved_model_warmup_util.h)."""

Kind = Literal["graph", "kernel", "ignored"]

_NO_VALUE = frozenset({"debug_name", "grad_a", "grad_b", "grad_x", "grad_y", "sparse_gradient", "use_unbounded_threadpool"})
"""Attributes that change no result: names for debuggers (TensorFlow names every variable in VarHandleOp's `debug_name`), marks of
products that belong to a gradient, and how many threads a data set takes."""

_LONGEST = 16
"""The most entries of a list of types in a message."""

_TYPES = frozenset({"type", "list(type)"})


Effect = Literal["load", "call", "answers"]


@dataclass(frozen=True)
class Lack:
    """One thing that a release lacks for a SavedModel.

    Attributes:
        op: the operator; empty for the graph as a whole.
        what: the rest of a sentence that begins with the operator.
        effect: what happens: the `load` fails, or a `call` of the signatures does, or the `answers` may differ.
        nodes: names of the nodes that have it.
        signatures: the signatures that run one of these nodes, and `LOADING`.
    """

    op: str
    what: str
    effect: Effect
    nodes: tuple[str, ...] = ()
    signatures: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.op} {self.what}".strip()


@dataclass(frozen=True)
class Fit:
    """Whether a release can serve a SavedModel.

    Attributes:
        signatures: the names of all signatures.
        lacks: what the release lacks.
        warms_up: whether the SavedModel has warm-up records, which a server sends to it before it serves it.
    """

    signatures: tuple[str, ...]
    lacks: tuple[Lack, ...]
    warms_up: bool

    @property
    def loads(self) -> bool:
        """Whether a server makes the model available."""
        ends = ("load", "call") if self.warms_up else ("load",)
        return not any(lack.effect in ends for lack in self.lacks)

    def lacks_of(self, signature: str) -> list[Lack]:
        """Return what the release lacks for one signature."""
        return [lack for lack in self.lacks if signature in lack.signatures]


def missing(folder: Path, release: Release) -> Fit:
    """Return what a release lacks for the SavedModel in a folder.

    Raises:
        VerifyError: the folder has no SavedModel that TensorFlow Serving would load, or a damaged one.
    """
    try:
        saved = read_saved_model(folder)
    except (OSError, ValueError) as exc:
        text = "there is no saved_model.pb" if isinstance(exc, FileNotFoundError) else str(exc)
        raise VerifyError(
            f"{folder} has no SavedModel that can be read: {text}.", fix="build it again", code="TFB5106"
        ) from exc
    graph = served_graph(saved)
    if graph is None:
        raise VerifyError(
            f"The SavedModel in {folder} has no graph with the tag {SERVE_TAG!r}, which TensorFlow Serving loads.",
            fix="save it again with tf.saved_model.save",
            code="TFB5106",
        )
    lacks = (*_version_lacks(graph.graph_def.versions, release), *_node_lacks(graph, release))
    names = tuple(sorted(name for name in graph.signature_def if not name.startswith("__")))
    return Fit(names, lacks, (folder / _WARM_UP).is_file())


def _node_lacks(graph: Any, release: Release) -> Iterator[Lack]:
    index = GraphIndex(graph)
    reaches = _reaches(index)
    produced = {op.name: op for op in graph.meta_info_def.stripped_op_list.op}
    groups: dict[tuple[str, str, Effect], list[tuple[str, tuple[str, ...]]]] = {}
    for scope, nodes in index.scopes():
        for node in nodes:
            users = tuple(name for name, reach in reaches.items() if reach.covers(scope, node.name))
            if node.op in index.functions or is_internal(node.op) or (scope and not users):
                continue
            for what, kind in _lacks(node, release, produced):
                if kind != "graph" and not users:
                    continue  # a node that nothing runs has to be registered, and no more
                is_early = LOADING in users or (kind == "graph" and not scope)
                effect: Effect = "answers" if kind == "ignored" else "load" if is_early else "call"
                groups.setdefault((node.op, what, effect), []).append((node.name, users))
    yield from (_grouped(*key, groups[key]) for key in sorted(groups))  # functions have no order of their own in the file


def _grouped(op: str, what: str, effect: Effect, places: Iterable[tuple[str, tuple[str, ...]]]) -> Lack:
    nodes, users = zip(*places, strict=True)
    return Lack(op, what, effect, tuple(sorted(set(nodes))), tuple(sorted({name for each in users for name in each})))


def _reaches(index: GraphIndex) -> dict[str, Reach]:
    """Return what runs for each signature, and, under `LOADING`, what a server runs to load the model."""
    graph = index.meta_graph
    outputs = {name: [each.name for each in signature.outputs.values()] for name, signature in graph.signature_def.items()}
    loading = [graph.saver_def.restore_op_name] if graph.saver_def.restore_op_name else []
    loading += [tensor for name, tensors in outputs.items() if name.startswith("__") for tensor in tensors]
    reaches = {name: index.reach(tensors) for name, tensors in outputs.items() if not name.startswith("__")}
    return {LOADING: index.reach(loading), **reaches}


def _version_lacks(versions: Any, release: Release) -> Iterator[Lack]:
    own = release.graph_def_version
    if versions.min_consumer > own:
        yield Lack("", f"the graph needs GraphDef version {versions.min_consumer}; the release reads up to {own}", "load")
    if versions.producer < release.min_producer:
        oldest = release.min_producer
        yield Lack("", f"the graph has GraphDef version {versions.producer}; the release reads {oldest} and newer", "load")
    if own in versions.bad_consumers:
        yield Lack("", f"the graph excludes readers of GraphDef version {own}, which is the release's", "load")


def _lacks(node: Any, release: Release, produced: Mapping[str, Any]) -> Iterator[tuple[str, Kind]]:
    """Yield what the release lacks for one node, and whether the graph, a kernel or nothing fails because of it.

    Args:
        node: the node.
        release: the release.
        produced: the definitions of the graph's operators in the release that wrote it.
    """
    op = node.op
    if not release.has_op(op):
        yield "is not registered", "graph"
        return
    known = release.attributes(op)
    public = {name: value for name, value in node.attr.items() if not name.startswith("_")}
    for name, value in public.items():
        if name not in known and name not in _NO_VALUE and plain_value(value) != _default(op, name, produced):
            yield f"does not know the attribute {shown(name)} = {_shown(value)} and ignores it", "ignored"
    for name, attribute in known.items():
        if name not in public and attribute.default is None:
            yield f"requires the attribute {name}, which the node does not have", "graph"
    forbidden = [name for name in known if name in public and not _is_allowed(public[name], known[name])]
    for name in forbidden:
        yield f"does not allow {name} = {_shown(public[name])}", "kernel"
    if not forbidden:
        yield from ((text, "kernel") for text in _kernel_lacks(op, public, known, release))


def _default(op: str, name: str, produced: Mapping[str, Any]) -> Any:
    """Return an attribute's default in the release that wrote the graph, or else in the newest release that is known."""
    if op in produced:
        return next((plain_value(attr.default_value) for attr in produced[op].attr if attr.name == name), None)
    attribute = read_release(known_releases()[-1]).attributes(op).get(name)
    return attribute.default if attribute else None


def _is_allowed(value: Any, attribute: Attribute) -> bool:
    allowed = attribute.constraint
    if value.WhichOneof("value") == "placeholder" or allowed is None or isinstance(allowed, int):
        return True
    if isinstance(allowed, str):
        return set(_types(value)) <= set(allowed)
    texts = [value.s] if value.WhichOneof("value") == "s" else value.list.s
    return all(text.decode("utf-8", "backslashreplace") in allowed for text in texts)


def _types(value: Any) -> str:
    """Return the codes of the types in an attribute's value."""
    kind = value.WhichOneof("value")
    numbers = [value.type] if kind == "type" else list(value.list.type)
    return "".join(map(type_code, numbers))


def _kernel_lacks(
    op: str, attrs: Mapping[str, Any], known: Mapping[str, Attribute], release: Release
) -> Iterator[str]:
    """Yield the types for which the release has no CPU kernel of the operator."""
    kernels = release.kernels(op)
    types = {name: _node_types(attrs.get(name), attribute) for name, attribute in known.items() if attribute.type in _TYPES}
    if any(all(_takes(codes, types.get(name)) for name, codes in kernel.items()) for kernel in kernels):
        return
    names = sorted({name for kernel in kernels for name in kernel})
    texts = [f"{name} = {_shown_types(attrs.get(name), known[name])}" for name in names if name in known]
    yield "has no CPU kernel" + (f" for {', '.join(texts)}" if texts else "")


def _node_types(value: Any, attribute: Attribute) -> str | None:
    """Return the codes of a node's types for an attribute; None if a parameter of the function decides."""
    if value is None:
        default = attribute.default
        return default["type"] if isinstance(default, dict) and "type" in default else None
    return None if value.WhichOneof("value") == "placeholder" else _types(value)


def _takes(codes: str, types: str | None) -> bool:
    return codes == "*" or types is None or set(types) <= set(codes)


def _shown_types(value: Any, attribute: Attribute) -> str:
    if value is not None:
        return _shown(value)
    code = _node_types(None, attribute)
    return "its default" if code is None else next((type_name(n) for n in range(64) if type_code(n) == code), code)


def _shown(value: Any) -> str:
    """Return an attribute's value as words."""
    kind = value.WhichOneof("value")
    if kind == "type" or (kind == "list" and value.list.type):
        return ", ".join(map(type_name, [value.type] if kind == "type" else value.list.type[:_LONGEST]))
    plain = plain_value(value)
    return shown(repr(plain)) if isinstance(plain, (str, int, float, bool)) else "…"
