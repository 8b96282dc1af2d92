"""The model's own input names in a SavedModel, where TensorFlow would change them.

The keys of a SignatureDef are the names of the TensorSpecs that a function was traced with, and those must be
names of graph nodes: `x:0` or `_x` cannot be. Such an input is traced under a name of `tensor_names`, and
`restore` puts its own into the written SavedModel: into the SignatureDef, which TensorFlow Serving reads, and
into the argument keywords of the function, which `tf.saved_model.load` reads. Output keys are free text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_NOT_IN_A_NODE_NAME = re.compile(r"[^A-Za-z0-9_.\\/-]")


def tensor_names(names: Iterable[str]) -> dict[str, str]:
    """For each input name a name that TensorFlow's graph takes: its own where it can be, none twice."""
    given: dict[str, str] = {}
    for name in names:
        clean = _NOT_IN_A_NODE_NAME.sub("_", name)
        base = candidate = clean if re.match(r"[A-Za-z0-9.]", clean) else f"x{clean}"
        count = 1
        while candidate in given.values():
            candidate, count = f"{base}_{count}", count + 1
        given[name] = candidate
    return given


def restore(folder: Path, signatures: Mapping[str, Iterable[str]]) -> None:
    """Give the inputs of the SavedModel in `folder` their own names.

    Args:
        signatures: signature -> input names; it was traced with their `tensor_names`.
    """
    changed = {
        signature: {traced: name for name, traced in tensor_names(names).items() if traced != name}
        for signature, names in signatures.items()
    }
    if not any(changed.values()):
        return
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    path = folder / "saved_model.pb"
    saved = SavedModel.FromString(path.read_bytes())
    for graph in saved.meta_graphs:
        for signature, own in changed.items():
            _rename(graph.signature_def[signature].inputs, own)
            _rename_keywords(graph.object_graph_def, signature, own)
    path.write_bytes(saved.SerializeToString(deterministic=True))


def set_methods(folder: Path, methods: Mapping[str, str]) -> None:
    """Give signatures of the SavedModel in `folder` another method name than TensorFlow's `tensorflow/serving/predict`.

    `tensorflow_model_server` looks at it with --enable_signature_method_name_check.
    """
    if not methods:
        return
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    path = folder / "saved_model.pb"
    saved = SavedModel.FromString(path.read_bytes())
    for graph in saved.meta_graphs:
        for signature, method in methods.items():
            graph.signature_def[signature].method_name = method
    path.write_bytes(saved.SerializeToString(deterministic=True))


def _rename(inputs: Any, own: Mapping[str, str]) -> None:
    infos = {own.get(key, key): info.SerializeToString() for key, info in inputs.items()}
    inputs.clear()
    for key, info in infos.items():
        inputs[key].ParseFromString(info)


def _rename_keywords(objects: Any, signature: str, own: Mapping[str, str]) -> None:
    """A signature's function is the child of that name of the object graph's signature map."""
    for node in objects.nodes:
        if node.user_object.identifier == "signature_map":
            for child in node.children:
                if child.local_name == signature:
                    keywords = objects.nodes[child.node_id].bare_concrete_function.argument_keywords
                    keywords[:] = [own.get(key, key) for key in keywords]
