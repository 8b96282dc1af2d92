"""A loaded model.tflite, which `--prefer_tflite_model` serves instead of the SavedModel beside it.

Rules and texts are those of servables/tensorflow/tflite_session.cc, with two exceptions: the real server copies the bytes of any
dtype into the tensor, while here a wrong dtype is INVALID_ARGUMENT, as with a SavedModel; and it takes any number of axes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.errors import TensorError
from serving.protocol.messages import DEFAULT_SIGNATURE, message
from serving.protocol.status import Code, StatusError, invalid_argument
from serving.protocol.tensors import Array, array_dtype_name, dtype_number
from serving.protocol.tflite_file import MODEL_FILE, SIGNATURE_DEFS, read_metadata, unpack_signatures
from serving.server.observability.tracing import mark
from serving.server.servables.dtype_error import wrong_dtype
from serving.server.servables.interpreters import InterpreterPool, TfliteTensor
from serving.server.servables.safety import check_tflite

PREDICT_METHOD = "tensorflow/serving/predict"


@dataclass(frozen=True)
class TfliteOptions:
    """How a model.tflite is run.

    Attributes:
        pool_size: interpreters that run at once.
        allow_unsafe_ops: whether the file may have operators that reach out of the graph.
    """

    pool_size: int = 1
    allow_unsafe_ops: bool = False


class TfliteServable:
    """A `Servable` that runs a model.tflite in LiteRT interpreters."""

    def __init__(self, path: str, pool: InterpreterPool, signatures: dict[str, Any]) -> None:
        self.path = path
        self.signatures = signatures
        self._pool = pool
        self._inputs = {tensor.name: tensor for tensor in pool.inputs}
        self._outputs = {tensor.name: tensor for tensor in pool.outputs}

    @classmethod
    def is_at(cls, path: str) -> bool:
        """Return whether the version's folder `path` has a model.tflite."""
        return (Path(path) / MODEL_FILE).is_file()

    @classmethod
    def load(cls, path: str, options: TfliteOptions) -> TfliteServable:
        """Load the model.tflite in the version's folder `path`.

        Raises:
            RefusedModelError: it does more than compute, and that is not allowed.
            StatusError: it is damaged, LiteRT cannot run it, or its signatures name unknown tensors.
        """
        content = (Path(path) / MODEL_FILE).read_bytes()
        try:
            entries = read_metadata(content)
            if not options.allow_unsafe_ops:
                check_tflite(path, content)
            signatures = unpack_signatures(entries[SIGNATURE_DEFS]) if SIGNATURE_DEFS in entries else {}
        except ValueError as exc:
            raise invalid_argument(f"Cannot build FlatBufferModel from buffer. {exc}") from exc
        pool = InterpreterPool(content, size=options.pool_size)
        if not signatures:
            return cls(path, pool, {DEFAULT_SIGNATURE: _default_signature(pool)})
        return cls(path, pool, _with_tensor_names(signatures, pool))

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]:
        """Run the file's first subgraph, as `Runnable.run` describes.

        Raises:
            StatusError: INVALID_ARGUMENT for a wrong dtype; INTERNAL for a shape of another rank, or that the graph cannot be
                prepared for.
        """
        mark("run")
        arrays: dict[int, Array] = {}
        for position, name in enumerate(sorted(feeds)):
            tensor, array = self._inputs[name], feeds[name]
            if array_dtype_name(array) != tensor.dtype:
                raise wrong_dtype(position, expected=tensor.dtype, actual=array_dtype_name(array))
            if not tensor.takes(array.shape):
                raise StatusError(Code.INTERNAL, "Failed to allocate tensors")
            arrays[tensor.index] = array
        return self._pool.run(arrays, [self._outputs[name].index for name in fetches])

    def close(self) -> None:
        """Free the interpreters. No request may be running."""
        self._pool.close()


def _with_tensor_names(signatures: Mapping[str, Any], pool: InterpreterPool) -> dict[str, Any]:
    """Replace the tensor names in the signatures with those in the file."""
    inputs, outputs = ({tensor.name for tensor in side} for side in (pool.inputs, pool.outputs))
    for signature in signatures.values():
        for alias, info in signature.inputs.items():
            info.name = _tensor_name(info.name, inputs, f"Signature input {alias} references an unknown tensor")
        for alias, info in signature.outputs.items():
            info.name = _tensor_name(info.name, outputs, f"Signature output {alias} references an unknown tensor")
    return dict(signatures)


def _tensor_name(name: str, names: Iterable[str], context: str) -> str:
    """Return the name, or the name without `:0`, which early converters left out of the file."""
    for candidate in (name, name.split(":")[0]):
        if candidate in names:
            return candidate
    raise StatusError(Code.INTERNAL, f"Unknown tensor '{name}'.\n\t{context}")


def _default_signature(pool: InterpreterPool) -> Any:
    """Return a signature for a file without signatures: the tensors under their own names."""
    signature = message("tensorflow.SignatureDef")(method_name=PREDICT_METHOD)
    for infos, tensors in ((signature.inputs, pool.inputs), (signature.outputs, pool.outputs)):
        for tensor in tensors:
            infos[tensor.name.split(":")[0]].CopyFrom(tensor_info(tensor))
    return signature


def tensor_info(tensor: TfliteTensor) -> Any:
    """Return the `tensorflow.TensorInfo` message of a tensor of the file.

    Raises:
        StatusError: INTERNAL: TensorFlow Serving does not support this dtype in TFLite files.
    """
    try:
        info = message("tensorflow.TensorInfo")(name=tensor.name, dtype=dtype_number(tensor.dtype))
    except TensorError as exc:
        raise StatusError(Code.INTERNAL, f"Unknown TfLite type: {tensor.dtype}") from exc
    for size in tensor.dims:
        info.tensor_shape.dim.add(size=size)
    return info
