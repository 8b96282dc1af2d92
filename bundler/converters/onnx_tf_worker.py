"""The process that onnx-tf runs in: `python -m bundler.converters.onnx_tf_worker REQUEST.json`.

The request holds `models` (signature name -> ONNX file), `saved_model` (the folder to write), `package` (the folder that
onnx-tf is in, or null for the environment) and `result` (a JSON file to write). Without `models`, the process only imports
onnx-tf. The result is `{"ok": true}` with exit status 0, or `{"stage", "error", "message", "node"}`
with exit status 1. If there is no result file, the process crashed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from bundler.converters.signature_names import restore, tensor_names
from bundler.graph.onnx_signature import signature_of
from bundler.process import garbage
from serving.imports import leave_keras_out


def main(request_file: str) -> int:
    """Convert the models of a request file; see the module's docstring."""
    garbage.collect_seldom()
    request = json.loads(Path(request_file).read_text("utf-8"))
    progress: dict[str, Any] = {"stage": "import", "node": None}
    if request["package"]:
        sys.path.insert(0, request["package"])
    try:
        backend = make_backend(progress)
        if "models" in request:
            progress["stage"] = "read"
            models = {name: onnx.load(path) for name, path in request["models"].items()}
            progress["stage"] = "convert"
            write_saved_model(backend, models, Path(request["saved_model"]), progress)
    except Exception as exc:
        result = {**progress, "error": type(exc).__name__, "message": last_line(exc)}
        Path(request["result"]).write_text(json.dumps(result), "utf-8")
        raise
    Path(request["result"]).write_text(json.dumps({"ok": True}), "utf-8")
    return 0


def last_line(exc: BaseException) -> str:
    """Return onnx-tf's own message: AutoGraph puts a traceback before it, onnx's checker a context after it."""
    text = str(exc).split("\n==> Context:")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix(f"{type(exc).__name__}: ") if lines else type(exc).__name__


def make_backend(progress: dict[str, Any]) -> Any:
    """Return onnx-tf's backend with two of its methods replaced.

    Weights become TensorFlow constants directly instead of through Python lists, and equal weights become one constant,
    which signatures share.

    Args:
        progress: its entry `node` is set to the node that is being converted, to be reported if onnx-tf fails.
    """
    from bundler.converters import onnx_tf_standins

    onnx_tf_standins.install()
    import tensorflow as tf
    from onnx_tf.backend import TensorflowBackend
    from onnx_tf.common import data_type

    constants: dict[tuple[int, tuple[int, ...], bytes], Any] = {}

    def constant(init: onnx.TensorProto) -> Any:
        array = numpy_helper.to_array(init)
        value = tf.constant(array, dtype=data_type.onnx2tf(init.data_type))
        if array.dtype.hasobject or array.nbytes < 64:
            return value
        return constants.setdefault((init.data_type, array.shape, digest(array)), value)

    class Backend(TensorflowBackend):  # type: ignore[misc]
        @classmethod
        def _onnx_initializer_to_input_dict_items(cls, initializer: Any, training_mode: bool = False) -> Any:
            return [(init.name, constant(init)) for init in initializer]

        @classmethod
        def _onnx_node_to_tensorflow_op(cls, node: Any, *args: Any, **kwargs: Any) -> Any:
            progress["node"] = f"{node.op_type} {node.name or ', '.join(node.outputs)!r}"
            outputs = super()._onnx_node_to_tensorflow_op(node, *args, **kwargs)
            progress["node"] = None
            return outputs

    return Backend


def digest(array: Any) -> bytes:
    """Return a hash of the array's data."""
    import hashlib

    return hashlib.sha256(array.tobytes()).digest()


def write_saved_model(
    backend: Any, models: Mapping[str, onnx.ModelProto], folder: Path, progress: dict[str, Any]
) -> None:
    """Write one SavedModel with a signature for each ONNX model."""
    import tensorflow as tf

    holder = tf.Module()
    holder.parts = []
    signatures, names = {}, {}
    for name, model in models.items():
        rep = backend.prepare(model, logging_level="ERROR", auto_cast=False)
        holder.parts.append(list(rep.tf_module.variables))
        signatures[name], names[name] = signature_function(rep, model), list(rep.signatures)
    progress["stage"] = "save"
    tf.saved_model.save(holder, str(folder), signatures=signatures)
    restore(folder, names)


def signature_function(rep: Any, model: onnx.ModelProto) -> Any:
    """Return a ConcreteFunction with the graph's input and output names, and its output shapes where they are declared."""
    import tensorflow as tf

    from bundler.converters.input_guards import guarded

    dims = {o.name: static_dims(o) for o in model.graph.output}
    declared = {spec.name: spec for spec in signature_of(model).inputs}
    input_specs = [declared[name] for name in rep.signatures]
    run = rep.tf_module.__call__.python_function  # the tf.function around it would change names such as `x.1`

    def call(*inputs: Any) -> dict[str, Any]:
        outputs = run(**dict(zip(rep.signatures, guarded(inputs, input_specs), strict=True)))
        for name, output in outputs.items():
            if dims[name] is not None:
                output.set_shape(dims[name])
        return {name: tf.identity(outputs[name]) for name in dims}

    names = tensor_names(rep.signatures)
    specs = [tf.TensorSpec(s.shape, s.dtype, name=names[name]) for name, s in rep.signatures.items()]
    return tf.function(call).get_concrete_function(*specs)


def static_dims(value: onnx.ValueInfoProto) -> list[int | None] | None:
    """Return the declared shape of a graph output, with None for each dim without a size; None if there is no shape."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    return [d.dim_value if d.HasField("dim_value") else None for d in value.type.tensor_type.shape.dim]


if __name__ == "__main__":
    leave_keras_out()
    sys.exit(main(sys.argv[1]))
