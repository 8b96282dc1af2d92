"""Runs the onnx-tf package (1.10, its last release, of 2022) as a converter, in a process of its own.

`tfbundle setup onnx-tf` installs it into a folder of its own; `pip install --no-deps onnx-tf==1.10.0` installs it into the
environment. Without `--no-deps`, pip installs tensorflow-addons too, which was discontinued in 2024: it cannot be imported beside
Keras 3, requires typeguard below 3, and has no wheel for Python 3.12 and newer, where the installation then fails.
`onnx_tf_standins` replaces the parts that onnx-tf needs.

Unlike the native converter, it does not support:

- ONNX newer than opset 15 (so it needs torch's legacy exporter), and anything that exists only in newer opsets.
- Squeeze and Unsqueeze of opset 13 and newer; with `--opset 12` the export has their older form, which it supports.
- LSTM, GRU and RNN: they need `tf.compat.v1.nn.rnn_cell`, which Keras 3 no longer has.
- Channels-last inputs: every convolution is transposed to channels-last and back, which costs time.
- Models over 2 GB: weights are constants of the graph, not variables.
- TFLite of models with GELU: it writes tf.math.erf, for which TFLite has no built-in operator.
- Shape arithmetic on dynamic dims other than the batch: it is traced with unknown sizes and may fail.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundler.converters import onnx_tf_package
from bundler.converters.signature_names import tensor_names
from bundler.errors import ConversionError, MissingExtraError, UsageError
from bundler.graph.onnx_signature import load_graph, opset_of, signature_of
from bundler.process import worker
from bundler.spec.bundle_spec import SignatureLayout
from bundler.values.converted import SERVING_DEFAULT, signatures_html, signatures_text
from bundler.values.signature import Signature

MAX_OPSET = 15
_WORKER = "bundler.converters.onnx_tf_worker"


class OnnxTfConverter:
    """Converts ONNX files of opset 15 and older with the onnx-tf package.

    Args:
        timeout_s: time limit in seconds for the conversion of all signatures together.
    """

    name = "onnx-tf"
    max_opset: int | None = MAX_OPSET

    def __init__(self, *, timeout_s: float = 1800) -> None:
        self._timeout_s = timeout_s

    def convert(self, models: Mapping[str, Path], *, layout: SignatureLayout = "keep") -> OnnxTfModel:
        """Convert ONNX files into one model; equal weights are shared between signatures.

        Args:
            models: one file per signature, `serving_default` first.
            layout: only `keep` is supported.

        Raises:
            MissingExtraError: onnx-tf is not installed.
            UsageError: the layout is not `keep`.
            ConversionError: onnx-tf failed, crashed or took too long; the message has its last line.
        """
        if layout != "keep":
            raise UsageError(
                f"The converter onnx-tf cannot build layout {layout!r}.",
                fix="use --layout keep, or --converter native, which takes images channels-last",
                code="TFB1206",
            )
        if not onnx_tf_package.is_available():
            raise MissingExtraError("onnx-tf", "onnx-tf", purpose="--converter onnx-tf", command=onnx_tf_package.SETUP)
        signatures = {name: _read_signature(name, path) for name, path in models.items()}
        work = Path(tempfile.mkdtemp(prefix="tfbundle-onnx-tf-"))
        try:
            files = {name: str(path.resolve()) for name, path in models.items()}
            _run_worker({"models": files, "saved_model": str(work / "saved_model")}, work, self._timeout_s)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        return OnnxTfModel(work, signatures)


class OnnxTfModel:
    """A SavedModel that onnx-tf wrote, in a temporary folder that is removed with this object."""

    def __init__(self, work: Path, signatures: Mapping[str, Signature]) -> None:
        self.signatures: Mapping[str, Signature] = dict(signatures)
        self.permutations: Mapping[str, tuple[int, ...]] = {}
        self._folder = work / "saved_model"
        self._loaded: Any = None
        weakref.finalize(self, shutil.rmtree, work, ignore_errors=True)

    def __repr__(self) -> str:
        return signatures_text(self)

    def _repr_html_(self) -> str:
        return signatures_html(self)

    def __call__(self, /, **inputs: Any) -> dict[str, Any]:
        """Run serving_default on arrays or tensors by input name; return tensors by output name, in the model's order."""
        import tensorflow as tf

        signature = self.signatures[SERVING_DEFAULT]
        tensors = {s.name: tf.convert_to_tensor(inputs.pop(s.name), s.dtype) for s in signature.inputs}
        if inputs:
            names = ", ".join(signature.input_names)
            raise TypeError(f"unexpected inputs {', '.join(sorted(inputs))}; the model takes {names}")
        outputs = self._function()(**tensors)
        return {name: outputs[name] for name in signature.output_names}

    def save(self, path: Path) -> None:
        """Write the SavedModel into the new or empty folder `path`."""
        shutil.copytree(self._folder, path, dirs_exist_ok=True)

    def static(self, shapes: Mapping[str, tuple[int | None, ...]]) -> Any:
        """Return serving_default as a ConcreteFunction with these input shapes; None leaves a dim dynamic.

        The SavedModel's function is traced within a function whose inputs are static; TensorFlow's shape inference
        propagates the sizes when it inlines them.
        """
        import tensorflow as tf

        function, signature = self._function(), self.signatures[SERVING_DEFAULT]
        names = tensor_names(signature.input_names)
        specs = [tf.TensorSpec(shapes[s.name], s.dtype, name=names[s.name]) for s in signature.inputs]

        def call(*inputs: Any) -> dict[str, Any]:
            outputs = function(**dict(zip(signature.input_names, inputs, strict=True)))
            return {name: outputs[name] for name in signature.output_names}

        concrete = tf.function(call, autograph=False).get_concrete_function(*specs)
        concrete._tfbundle_model = self._loaded  # a ConcreteFunction does not keep its captures alive
        return concrete

    def _function(self) -> Any:
        if self._loaded is None:
            import tensorflow as tf

            self._loaded = tf.saved_model.load(str(self._folder))
        return self._loaded.signatures[SERVING_DEFAULT]


def _read_signature(name: str, path: Path) -> Signature:
    model = load_graph(path)
    opset = opset_of(model)
    if opset > MAX_OPSET:
        raise ConversionError(
            f"onnx-tf reads ONNX up to opset {MAX_OPSET}; the signature {name!r} has opset {opset}.",
            where=str(path),
            fix=f"use --opset {MAX_OPSET}, or --converter native, which reads all opsets",
            code="TFB1205",
        )
    return signature_of(model)


def check_import(folder: Path | None = None, *, timeout_s: float = 300) -> None:
    """Import the package in a process of its own, as a conversion does.

    Args:
        folder: the folder that it is in; None: where a conversion finds it.
        timeout_s: time limit in seconds.

    Raises:
        ConversionError: it cannot be imported.
    """
    with tempfile.TemporaryDirectory(prefix="tfbundle-onnx-tf-") as work:
        _run_worker({}, Path(work), timeout_s, folder)


def _run_worker(task: Mapping[str, Any], work: Path, timeout_s: float, folder: Path | None = None) -> None:
    """Let the worker do a task: convert models, or only import the package.

    Args:
        task: the entries of the request that the worker needs for it.
        work: a folder for the request, the result and the log.
        timeout_s: time limit in seconds.
        folder: the folder that the package is in; None: where `onnx_tf_package` finds it.

    Raises:
        ConversionError: it failed, crashed or took longer than `timeout_s`.
    """
    request, result, log = work / "request.json", work / "result.json", work / "worker.log"
    package = folder or onnx_tf_package.own_folder()
    content = {**task, "package": str(package) if package else None, "result": str(result)}
    request.write_text(json.dumps(content), "utf-8")
    try:
        status = worker.run_module(_WORKER, [str(request)], log, timeout_s=timeout_s)
    except subprocess.TimeoutExpired as exc:
        raise ConversionError(
            f"onnx-tf did not finish within {timeout_s:g} s.", fix="use --converter native", code="TFB3201"
        ) from exc
    if not result.exists():
        raise _crashed(status, log)
    report = json.loads(result.read_text("utf-8"))
    if not report.get("ok"):
        raise _failed(report)


def _failed(report: Mapping[str, Any]) -> ConversionError:
    message = f"{report['error']}: {report['message']}"
    if report["stage"] == "import":
        return ConversionError(f"onnx-tf cannot be imported: {message}", fix=onnx_tf_package.SETUP, code="TFB3201")
    where = f"ONNX node {report['node']}" if report["node"] else None
    fix = "use --converter native, or change the model so that it does not need this"
    if report["message"].endswith("version 13 is not implemented."):
        fix = "use --converter native, or --opset 12, where this operator has the older form that onnx-tf supports"
    return ConversionError(
        f"onnx-tf could not {report['stage']} the model: {message}", where=where, fix=fix, code="TFB3201"
    )


def _crashed(status: int, log: Path) -> ConversionError:
    """Return the error for a worker that ended without a result: by a signal (often SIGKILL, out of memory) or an exit."""
    fix = "use --converter native"
    if worker.was_killed(status):
        fix = f"free memory and try again, or {fix}"
    return ConversionError(f"The onnx-tf process {worker.how_it_ended(status, log)}", fix=fix, code="TFB3201")
