"""Keeps the model's own input names in a SavedModel where TensorFlow would change them.

The keys of a SignatureDef are the names of the TensorSpecs that a function was traced with, and these must be
valid names of graph nodes, which `x:0` and `_x` are not. Such an input is traced under a name from `tensor_names`, and
`restore` writes its own name into the SavedModel: into the SignatureDef, which TensorFlow Serving reads, and
into the argument keywords of the function, which `tf.saved_model.load` reads. Output keys are free text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from keyword import iskeyword
from pathlib import Path
from typing import Any

_NOT_IN_A_NODE_NAME = re.compile(r"[^A-Za-z0-9_./-]")


def tensor_names(names: Iterable[str]) -> dict[str, str]:
    """Map each input name to a unique name that TensorFlow's graph accepts: the input's own if possible."""
    accepted: dict[str, str] = {}
    for name in names:
        clean = _NOT_IN_A_NODE_NAME.sub("_", name)
        if iskeyword(clean) or clean.endswith("/"):  # neither is a parameter; a scope's name ends with a slash
            clean = f"{clean}_"
        base = candidate = clean if re.match(r"[A-Za-z0-9.]", clean) else f"x{clean}"
        count = 1
        while candidate in accepted.values():
            candidate, count = f"{base}_{count}", count + 1
        accepted[name] = candidate
    return accepted


def restore(folder: Path, signatures: Mapping[str, Iterable[str]]) -> None:
    """Restore the model's own names of the inputs of a SavedModel.

    Args:
        folder: the SavedModel.
        signatures: the input names of each signature; it was traced with their `tensor_names`.
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
        for signature, names in changed.items():
            _rename(graph.signature_def[signature].inputs, names)
            _rename_keywords(graph.object_graph_def, signature, names)
    path.write_bytes(saved.SerializeToString(deterministic=True))


def set_methods(folder: Path, methods: Mapping[str, str]) -> None:
    """Set the method names of signatures of the SavedModel in `folder`; TensorFlow writes `tensorflow/serving/predict`.

    `tensorflow_model_server` checks them with --enable_signature_method_name_check.
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


def _rename(inputs: Any, names: Mapping[str, str]) -> None:
    infos = {names.get(key, key): info.SerializeToString() for key, info in inputs.items()}
    inputs.clear()
    for key, info in infos.items():
        inputs[key].ParseFromString(info)


def _rename_keywords(objects: Any, signature: str, names: Mapping[str, str]) -> None:
    """Rename the keywords of a signature's function, which is a child of the object graph's signature map."""
    for node in objects.nodes:
        if node.user_object.identifier == "signature_map":
            for child in node.children:
                if child.local_name == signature:
                    keywords = objects.nodes[child.node_id].bare_concrete_function.argument_keywords
                    keywords[:] = [names.get(key, key) for key in keywords]
