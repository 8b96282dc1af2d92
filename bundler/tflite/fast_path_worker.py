"""The process that makes a model.tflite for the server and runs it: `python -m bundler.tflite.fast_path_worker WORK`.

Like `bundler.tflite.worker` it is a separate process, because it may crash. WORK contains

    saved_model/        the model with its dynamic dims, lowered for TFLite
    converted.tflite    in its place: the converted model, if it does not compute in float32
    signature.pb        the SignatureDef of the SavedModel that is served
    draws/N.npz         inputs by name

The process writes model.tflite, outputs/N.npz and, last, result.json. Its exit status is 0 unless it crashes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundler.errors import TfliteError
from bundler.process import garbage
from bundler.tflite.deferral import defer_preparation
from bundler.tflite.exchange import load_calls, save_calls
from bundler.tflite.fast_path import answer_golden
from bundler.tflite.flatbuffer import add_metadata
from bundler.tflite.runner import THREADS, median_ms
from bundler.tflite.variants import convert
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT
from serving.imports import leave_keras_out
from serving.protocol.messages import message
from serving.protocol.status import StatusError
from serving.protocol.tflite_file import MODEL_FILE, SIGNATURE_DEFS, pack_signatures


def main(work: Path) -> int:
    """Make and run the file, and write the result or the error to result.json; return the exit status."""
    garbage.collect_seldom()
    try:
        result: dict[str, Any] = {"latency_ms": _make(work)}
    except (TfliteError, StatusError) as exc:
        result = {"error": exc.what if isinstance(exc, TfliteError) else exc.message}
    (work / "result.json").write_text(json.dumps(result), "utf-8")
    return 0


def _make(work: Path) -> dict[int, float]:
    converted = work / "converted.tflite"
    content = converted.read_bytes() if converted.exists() else convert(work / "saved_model", "float32")
    if _resizes_several(content):
        content = defer_preparation(content)
    definition = message("tensorflow.SignatureDef").FromString((work / "signature.pb").read_bytes())
    content = with_signature(content, definition)
    (work / MODEL_FILE).write_bytes(content)
    draws = list(load_calls(work / "draws"))
    save_calls(work / "outputs", answer_golden(work, draws))
    smallest = min(draws, key=lambda call: sum(array.nbytes for array in call.values()))
    return {threads: latency_ms(content, smallest, threads) for threads in THREADS}


def _resizes_several(content: bytes) -> bool:
    """Return whether a file has several inputs and at least one of them has a dynamic size."""
    from ai_edge_litert.interpreter import Interpreter

    details = Interpreter(model_content=content).get_input_details()
    return len(details) > 1 and any(-1 in detail["shape_signature"] for detail in details)


def with_signature(content: bytes, definition: Any) -> bytes:
    """Add the SignatureDef of a SavedModel to a .tflite file, with the file's tensor names, as TensorFlow Serving reads it.

    Args:
        content: the file.
        definition: the SignatureDef, whose tensor names are replaced.

    Raises:
        TfliteError: the file's tensors do not match the signature.
    """
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=content).get_signature_runner()
    for infos, details in (
        (definition.inputs, runner.get_input_details()),
        (definition.outputs, runner.get_output_details()),
    ):
        _set_tensor_names(infos, details)
    try:
        return add_metadata(content, {SIGNATURE_DEFS: pack_signatures({SERVING_DEFAULT: definition})})
    except ValueError as exc:
        raise TfliteError(f"TensorFlow Serving cannot read its signature from TFLite: {exc}.", code="TFB4401") from exc


def _set_tensor_names(infos: Any, details: Mapping[str, Any]) -> None:
    """Put the names of the file's tensors into the TensorInfos of a SignatureDef."""
    if set(infos) != set(details):
        raise TfliteError(
            f"The file has the tensors {sorted(details)}, but the SavedModel has {sorted(infos)}.", code="TFB4401"
        )
    names = [str(details[alias]["name"]) for alias in infos]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        aliases = [alias for alias in infos if details[alias]["name"] == repeated[0]]
        raise TfliteError(
            f"{', '.join(sorted(aliases))} are the same tensor in the file, which TensorFlow Serving does not support.",
            code="TFB4401",
        )
    for alias, info in infos.items():
        info.name = str(details[alias]["name"])
        if not info.tensor_shape.dim and not info.tensor_shape.unknown_rank:
            info.ClearField("tensor_shape")  # the default means the same, and an explicit empty shape serializes to a zero byte


def latency_ms(content: bytes, inputs: Mapping[str, Array], threads: int) -> float:
    """Return the median latency of a call in milliseconds; inputs are by the signature's names."""
    from ai_edge_litert.interpreter import Interpreter as LiteRt

    from serving.server.servables.interpreters import Interpreter

    details = LiteRt(model_content=content).get_signature_runner().get_input_details()
    feeds = {int(details[name]["index"]): array for name, array in inputs.items()}
    interpreter = Interpreter(content, threads)
    fetches = [tensor.index for tensor in interpreter.outputs]
    return median_ms(lambda: interpreter.run(feeds, fetches))


if __name__ == "__main__":
    arguments: Sequence[str] = sys.argv[1:]
    leave_keras_out()
    sys.exit(main(Path(arguments[0])))
