"""What a SavedModel may do besides computing, found without TensorFlow and without running it.

Every node of every meta graph and function counts, even where no signature runs it. Three uses of unsafe operators are a part
of every ordinary SavedModel and are not reported: the saver's own operators, which nothing but the saver runs; the restoring of
the model's own variables; and the reading of the model's own assets (`serving.protocol.tensor_origins`).

This is no sandbox: TensorFlow's kernels are native code, and a graph may still take all memory or run for ever.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf.message import DecodeError

from serving.protocol.graph_reach import GraphIndex, Reach
from serving.protocol.saved_model_file import assets, read_saved_model
from serving.protocol.tensor_origins import ASSET, CHECKED_INPUT, Origin, Origins, object_variable
from serving.protocol.unsafe_ops import UnsafeUse, grouped, is_reviewed, shown, why_unsafe

_SAVER_OPS = frozenset({"SaveV2", "MergeV2Checkpoints", "SaveSlices", "Save"})
_MAIN_OPS = ("saved_model_main_op", "legacy_init_op", "saved_model_train_op")
"""Collections that name the operations which a loader runs (python/saved_model/constants.py)."""


def unsafe_uses(folder: Path) -> list[UnsafeUse]:
    """Return what the SavedModel in a folder may do besides computing: one entry per operator and reason.

    Raises:
        FileNotFoundError: there is no SavedModel in the folder.
        ValueError: its file is damaged.
        OSError: a file cannot be read.
    """
    saved = read_saved_model(folder)
    found = list(outside_files(folder))
    try:
        for meta_graph in saved.meta_graphs:
            found += _unsafe_nodes(meta_graph)
            found += _unsafe_assets(meta_graph)
    except DecodeError as exc:
        raise ValueError(f"the SavedModel in {folder} is damaged: {exc}") from exc
    return grouped(found)


def outside_files(folder: Path) -> Iterator[UnsafeUse]:
    """Yield the entries of a version's folder that are not files of it: links that lead out of it, pipes and devices."""
    root = folder.resolve()
    for parent, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(parent, name)
            mode = path.lstat().st_mode
            relative = shown(path.relative_to(root).as_posix())
            if stat.S_ISLNK(mode):
                if not path.resolve().is_relative_to(root):
                    yield UnsafeUse(relative, "is a link that leads out of the model's folder")
            elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                yield UnsafeUse(relative, "is neither a file nor a folder")


def _unsafe_assets(meta_graph: Any) -> Iterator[UnsafeUse]:
    for _, name in assets(meta_graph):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
            yield UnsafeUse(shown(name), "is an asset outside of the model's folder")


def _unsafe_nodes(meta_graph: Any) -> Iterator[UnsafeUse]:
    index = GraphIndex(meta_graph)
    check: _Uses | None = None
    for scope, nodes in index.scopes():
        for node in nodes:
            reason = why_unsafe(node.op, node.attr)
            if reason is None or (node.op in index.functions and not is_reviewed(node.op)):
                continue
            check = check or _Uses(index)
            if not check.is_ordinary(scope, node):
                where = f"function {shown(scope)}, node {shown(node.name)}" if scope else f"node {shown(node.name)}"
                yield UnsafeUse(shown(node.op), reason, where)


class _Uses:
    """Tells the ordinary uses of unsafe operators in a graph from the others."""

    def __init__(self, index: GraphIndex) -> None:
        graph = index.meta_graph
        saver = graph.saver_def
        outputs = [info.name for signature in graph.signature_def.values() for info in signature.outputs.values()]
        collections = [graph.collection_def[key] for key in _MAIN_OPS if key in graph.collection_def]
        main_ops = [name for collection in collections for name in collection.node_list.value]
        functions = list(graph.object_graph_def.concrete_functions)
        self._requests: Reach = index.reach([*outputs, *main_ops], functions)
        self._runs: Reach = index.reach([*outputs, *main_ops, saver.restore_op_name], functions)
        # Only initializers are fed the paths of assets; they are operations, whose names have no colon.
        unfed = index.reach([name for name in outputs if ":" in name] + [saver.restore_op_name])
        own = [name for name, _ in assets(graph) if not _has_value(index, name) or not unfed.covers("", name.partition(":")[0])]
        self._origins = Origins(
            index,
            filename=saver.filename_tensor_name,
            assets=own,
            fed=[info.name for signature in graph.signature_def.values() for info in signature.inputs.values()],
            functions=_object_calls(index),
        )

    def is_ordinary(self, scope: str, node: Any) -> bool:
        """Return whether this node is the saver's, restores the model's own variables, or reads an asset of the model."""
        if node.op in _SAVER_OPS:
            return not self._runs.covers(scope, node.name)
        if node.op not in CHECKED_INPUT or not self._origins.is_own_file(scope, node.name):
            return False
        return CHECKED_INPUT[node.op][1] == ASSET or not self._requests.covers(scope, node.name)


def _has_value(index: GraphIndex, tensor: str) -> bool:
    """Return whether a tensor has a value even if it is not fed."""
    node = index.nodes.get(tensor.partition(":")[0])
    return node is None or node.op != "Placeholder"


def _object_calls(index: GraphIndex) -> Iterator[tuple[str, tuple[Origin, ...]]]:
    """Yield the functions that tf.saved_model.load may call, with the origins of their arguments; captured ones come last."""
    objects = index.meta_graph.object_graph_def
    for name, function in objects.concrete_functions.items():
        if name not in index.functions:
            continue
        captured = [_object_origin(objects, number) for number in function.bound_inputs]
        count = len(index.functions[name].signature.input_arg)
        yield name, ((None,) * (count - len(captured)) + tuple(captured))[:count]


def _object_origin(objects: Any, number: int) -> Origin:
    kind = objects.nodes[number].WhichOneof("kind") if 0 <= number < len(objects.nodes) else None
    if kind == "asset":
        return ASSET
    return object_variable(number) if kind == "variable" else None
