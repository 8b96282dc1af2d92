"""The fast path: a model.tflite beside saved_model.pb, which a server prefers under `--prefer_tflite_model`.

It has the SavedModel's signature, tensors under the same names, and resizes to the request's sizes. What TensorFlow Serving
cannot serve this way is refused, by the rules of its session (servables/tensorflow/tflite_session.cc):

1. One signature: a session runs the file's first subgraph, whichever signature is called.
2. Types that the session knows: float32, int8, int16, int32, int64, uint8, bool, complex64.
3. Inputs with at least one axis: the session reads the size of the first one.
4. Several inputs only with fixed sizes: the session resizes one input at a time and prepares the graph in between, with
   sizes that do not fit each other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.errors import TfliteError, UsageError
from bundler.process import worker
from bundler.saved_model.summarize import signature_def
from bundler.tflite import contents, exchange
from bundler.tflite.variants import write_static
from bundler.values.comparison import FAST_PATH, Row, differences
from bundler.values.converted import SERVING_DEFAULT
from bundler.values.reference import to_served

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import ModelSpec
    from bundler.values.converted import ConvertedModel
    from bundler.values.reference import ReferenceOutputs
    from bundler.values.signature import Signature

_WORKER = "bundler.tflite.fast_path_worker"
DTYPES = ("float32", "int8", "int16", "int32", "int64", "uint8", "bool", "complex64")
_LEAVE_OUT = "set fast_path: false for this model: its SavedModel is served then"


@dataclass(frozen=True)
class FastPath:
    """A model.tflite for the server, and its figures.

    Attributes:
        latency_ms: median milliseconds of the smallest call, by number of threads.
        rows: how far each output of each draw is from PyTorch.
        operators: counts by TFLite's names.
    """

    path: Path
    latency_ms: Mapping[int, float]
    rows: tuple[Row, ...]
    operators: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.path.name,
            "size_bytes": self.path.stat().st_size,
            "latency_ms": {str(threads): round(ms, 4) for threads, ms in self.latency_ms.items()},
            "operators": dict(self.operators),
        }


def check_request(model: ModelSpec) -> None:
    """Refuse what can be known before any work is done.

    Raises:
        UsageError: the model has further signatures.
    """
    further = {**model.methods, **model.derived}
    if further:
        raise UsageError(
            f"The model {model.name} has further signatures ({', '.join(further)}); a model.tflite is served with "
            "one alone.",
            fix=_LEAVE_OUT,
        )


def check_signature(signature: Signature) -> None:
    """Refuse a signature that TensorFlow Serving cannot serve from TFLite (see the module's rules).

    Raises:
        TfliteError: with the tensor and the rule.
    """
    for spec in (*signature.inputs, *signature.outputs):
        if spec.dtype not in DTYPES:
            raise _refused(f"it reads no {spec.dtype} ({spec}), only {', '.join(DTYPES)}")
    for spec in signature.inputs:
        if not spec.dims:
            raise _refused(f"it takes no input without axes ({spec})")
    resized = [spec for spec in signature.inputs if spec.dynamic_axes]
    if resized and len(signature.inputs) > 1:
        given = ", ".join(map(str, signature.inputs))
        raise _refused(f"it resizes one input at a time, and this model has {len(signature.inputs)} ({given})")


def _refused(why: str) -> TfliteError:
    return TfliteError(f"TensorFlow Serving cannot serve this model from TFLite: {why}.", fix=_LEAVE_OUT)


def build_fast_path(
    converted: ConvertedModel, asked: ReferenceOutputs, saved_model: Path, target: Path, work: Path
) -> FastPath:
    """Write the model.tflite `target`, run it as the server will, and compare it with PyTorch.

    Args:
        asked: PyTorch's answers to serving_default.
        saved_model: folder of the SavedModel, whose signature it takes over.
        work: a folder for what is not kept; need not be there.

    Raises:
        TfliteError: TensorFlow Serving cannot serve the model from TFLite, or it cannot be converted.
    """
    signature = converted.signatures[SERVING_DEFAULT]
    check_signature(signature)
    work.mkdir(parents=True)
    shapes = {spec.name: spec.shape for spec in signature.inputs}
    write_static(converted.static(shapes), signature.input_names, work / "saved_model")
    cases = asked.cases
    exchange.save_calls(work / "draws", (to_served(case.inputs, converted.permutations) for case in cases))
    definition = signature_def(saved_model, SERVING_DEFAULT)
    (work / "signature.pb").write_bytes(definition.SerializeToString(deterministic=True))
    latency = _run_worker(work)
    shutil.move(work / "model.tflite", target)
    answers = list(exchange.load_calls(work / "outputs"))
    rows = tuple(
        Row(SERVING_DEFAULT, case.name, FAST_PATH, difference)
        for case, got in zip(cases, answers, strict=True)
        for difference in differences(case.outputs, got)
    )
    return FastPath(target, latency, rows, contents.count(contents.operators(target)))


def _run_worker(work: Path) -> dict[int, float]:
    """Have the worker write model.tflite and its outputs; milliseconds of a call by number of threads."""
    log = work / "worker.log"
    status = worker.run_module(_WORKER, [str(work)], log)
    result = work / "result.json"
    if not result.exists():
        raise TfliteError(
            f"The process that makes and runs model.tflite, {worker.how_it_ended(status, log)}", fix=_LEAVE_OUT
        )
    answer = json.loads(result.read_text("utf-8"))
    if "error" in answer:
        raise TfliteError(f"model.tflite could not be made. {answer['error']}", fix=_LEAVE_OUT)
    return {int(threads): float(ms) for threads, ms in answer["latency_ms"].items()}


def answer_golden(path: Path, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the model.tflite in a version's folder answers to calls of serving_default, as the embedded server runs it.

    Raises:
        StatusError: it cannot be loaded or run.
    """
    from serving.server.methods.predict import run_signature
    from serving.server.servables.tflite import TfliteOptions, TfliteServable

    servable = TfliteServable.load(str(path), TfliteOptions())
    try:
        return [run_signature(servable, SERVING_DEFAULT, call, read=call.__getitem__) for call in calls]
    finally:
        servable.close()
