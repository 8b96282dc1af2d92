"""The fast path: a model.tflite next to saved_model.pb, which a server prefers under `--prefer_tflite_model`.

It has the SavedModel's signature and tensor names, and resizes to the sizes of a request. It computes in float32, or is the
TFLite variant float16 or int8 (`bundler.tflite.build.make_resizable`), with the same inputs and outputs.

Models that TensorFlow Serving cannot serve this way are rejected, by the rules of its session
(tensorflow_serving/servables/tensorflow/tflite_session.cc):

1. There is only one signature: a session runs the file's first subgraph, whichever signature is called.
2. The session supports these types: float32, int8, int16, int32, int64, uint8, bool, complex64.
3. Each input has at least one axis: the session reads the size of the first one.
4. The session resizes one input at a time and prepares the graph in between, when the sizes do not match yet; so a file with
   several inputs of dynamic sizes has its graph prepared only when it runs (`bundler.tflite.deferral`).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.errors import TfliteError, UsageError
from bundler.process import worker
from bundler.process.clock import records_times
from bundler.saved_model.summarize import signature_def
from bundler.tflite import contents, exchange
from bundler.tflite.delegation import Delegation, delegation
from bundler.tflite.request import check_variants
from bundler.tflite.result import VariantResult
from bundler.tflite.variants import write_static
from bundler.values.comparison import FAST_PATH, Row, differences
from bundler.values.converted import SERVING_DEFAULT
from bundler.values.reference import to_served

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import FastPathForm, ModelSpec
    from bundler.values.converted import ConvertedModel
    from bundler.values.reference import ReferenceOutputs
    from bundler.values.signature import Signature

_WORKER = "bundler.tflite.fast_path_worker"
DTYPES = ("float32", "int8", "int16", "int32", "int64", "uint8", "bool", "complex64")
_ADVICE = "set fast_path: false for this model, so that its SavedModel is served"


@dataclass(frozen=True)
class FastPath:
    """A model.tflite for the server, and its measurements.

    Attributes:
        path: the file.
        latency_ms: median latency of the smallest call in milliseconds, by number of threads.
        rows: the difference of each output of each draw from PyTorch; in float32 it must be within the tolerance.
        operators: counts by TFLite operator name.
        delegation: the part of the graph that XNNPACK runs.
        variant: the file as a TFLite variant, if it does not compute in float32: calibration, accuracy and notes.
    """

    path: Path
    latency_ms: Mapping[int, float]
    rows: tuple[Row, ...]
    operators: Mapping[str, int]
    delegation: Delegation | None = None
    variant: VariantResult | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the `fast_path` record for bundle.json."""
        variant = self.variant.to_json() if self.variant else {}
        kept = ("calibration", "accuracy", "evaluation", "notes")
        return {
            "file": self.path.name,
            **({"form": self.variant.variant} if self.variant else {}),
            "size_bytes": self.path.stat().st_size,
            "latency_ms": {str(threads): round(ms, 4) for threads, ms in self.latency_ms.items()},
            "operators": dict(self.operators),
            **({"delegation": self.delegation.to_json()} if self.delegation else {}),
            **{key: variant[key] for key in kept if key in variant},
        }


def check_request(model: ModelSpec, form: FastPathForm = "float32", base: Path = Path()) -> None:
    """Check a model's spec before any work is done.

    Args:
        model: the spec.
        form: what the file computes in.
        base: folder that relative paths of the spec start from.

    Raises:
        UsageError: the model has additional signatures, or the form needs calibration data and there is none.
    """
    if form != "float32":
        check_variants((form,), model.tflite, base, model.source)
    additional = {**model.methods, **model.derived}
    if additional:
        raise UsageError(
            f"The model {model.name!r} has additional signatures ({', '.join(additional)}), but a model.tflite can serve "
            "only one signature.",
            fix=_ADVICE,
            code="TFB4401",
        )


def check_signature(signature: Signature) -> None:
    """Raise an error if TensorFlow Serving cannot serve the signature from TFLite (see the module's rules).

    Raises:
        TfliteError: a rule is broken; the message names the tensor and the rule.
    """
    for spec in (*signature.inputs, *signature.outputs):
        if spec.dtype not in DTYPES:
            raise _unsupported(f"it supports only {', '.join(DTYPES)}, not {spec.dtype} ({spec})")
    for spec in signature.inputs:
        if not spec.dims:
            raise _unsupported(f"it does not support inputs without axes ({spec})")


def _unsupported(reason: str) -> TfliteError:
    return TfliteError(
        f"TensorFlow Serving cannot serve this model from TFLite: {reason}.", fix=_ADVICE, code="TFB4401"
    )


def build_fast_path(
    converted: ConvertedModel,
    references: ReferenceOutputs,
    saved_model: Path,
    target: Path,
    work: Path,
    variant: VariantResult | None = None,
) -> FastPath:
    """Write a model.tflite, run it as the server will, and compare it with PyTorch.

    Args:
        converted: the converted model.
        references: PyTorch's outputs for serving_default.
        saved_model: folder of the SavedModel, whose signature the file gets.
        target: path of the model.tflite.
        work: a new folder for temporary files.
        variant: the variant that `make_resizable` made; None for a file in float32, which is made here.

    Raises:
        TfliteError: TensorFlow Serving cannot serve the model from TFLite, or the model cannot be converted.
    """
    signature = converted.signatures[SERVING_DEFAULT]
    check_signature(signature)
    work.mkdir(parents=True)
    shapes = {spec.name: spec.shape for spec in signature.inputs}
    if variant:
        shutil.copyfile(variant.path, work / "converted.tflite")
    else:
        write_static(converted.static(shapes), signature.input_names, work / "saved_model")
    cases = references.cases
    exchange.save_calls(work / "draws", (to_served(case.inputs, converted.permutations) for case in cases))
    definition = signature_def(saved_model, SERVING_DEFAULT)
    (work / "signature.pb").write_bytes(definition.SerializeToString(deterministic=True))
    latency = _run_worker(work)
    shutil.move(work / "model.tflite", target)
    outputs = list(exchange.load_calls(work / "outputs"))
    rows = tuple(
        Row(SERVING_DEFAULT, case.name, FAST_PATH, difference, gated=variant is None)
        for case, case_outputs in zip(cases, outputs, strict=True)
        for difference in differences(case.outputs, case_outputs)
    )
    return FastPath(target, latency, rows, contents.count(contents.operators(target)), delegation(target), variant)


def _run_worker(work: Path) -> dict[int, float]:
    """Let the worker write model.tflite and its outputs; return the latency in milliseconds by number of threads."""
    log = work / "worker.log"
    timeout_s = worker.worker_timeout()
    try:
        status = worker.run_module(_WORKER, [str(work)], log, timeout_s=timeout_s)
    except subprocess.TimeoutExpired as exc:
        activity = "building and running model.tflite with TensorFlow's TFLite converter and LiteRT"
        raise exchange.worker_timeout_error(activity, "fast-path", log, timeout_s, _ADVICE) from exc
    result = work / "result.json"
    if not result.exists():
        raise TfliteError(
            f"The process building and running model.tflite {worker.how_it_ended(status, log)}",
            fix=_ADVICE,
            code="TFB4401",
        )
    answer = json.loads(result.read_text("utf-8"))
    if "error" in answer:
        raise TfliteError(f"model.tflite could not be built. {answer['error']}", fix=_ADVICE, code="TFB4401")
    return {int(threads): float(ms) for threads, ms in answer["latency_ms"].items()} if records_times() else {}


def answer_golden(path: Path, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Run a version's model.tflite on calls of serving_default, as the embedded server does.

    Args:
        path: the version's folder.
        calls: inputs by name.

    Returns:
        Outputs by name for each call.

    Raises:
        StatusError: the file cannot be loaded or run.
    """
    from serving.server.methods.predict import run_signature
    from serving.server.servables.tflite import TfliteOptions, TfliteServable

    servable = TfliteServable.load(str(path), TfliteOptions())
    try:
        return [run_signature(servable, SERVING_DEFAULT, call, read=call.__getitem__) for call in calls]
    finally:
        servable.close()
