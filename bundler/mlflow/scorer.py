"""MLflow's predictions from a bundle: the answers of the servables of the embedded server, or of a TFLite variant.

Whatever a request can cause becomes an MlflowException with the message of the error, which a scoring server shows to its client.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bundler.bundle.manifest import FileEntry
from bundler.errors import TfbundleError, UnsafeModelError, VerifyError
from bundler.mlflow.choice import FAST_PATH, SAVED_MODEL, Choice
from bundler.mlflow.inputs import to_inputs, to_outputs
from bundler.mlflow.stored import StoredBundle
from bundler.process.extras import require
from bundler.validation.bundle import Bundle
from bundler.values.arrays import Array
from serving.errors import ExplainedError
from serving.protocol.status import Code, StatusError
from serving.quiet import quiet_tensorflow

Run = Callable[[str, Mapping[str, Array]], dict[str, Array]]
"""Runs a signature on arrays by input name, and returns the outputs by name; can be called from several threads."""


def load_scorer(path: str, model_config: Mapping[str, Any] | None = None) -> BundleScorer:
    """Return what answers for a logged model. MLflow calls this as `_load_pyfunc` of `bundler.mlflow`.

    Args:
        path: the bundle's folder in that of the MLflow model.
        model_config: the settings of MLmodel, with the caller's changes.

    Raises:
        UsageError: a setting names a label, signature or form that the bundle lacks.
        VerifyError: the bundle was logged by a later tfbundle, is damaged, or has no such model or version.
        MissingExtraError: the packages of `tfbundle[serve]` are not installed.
    """
    require("serve", "A prediction")
    quiet_tensorflow()
    root = Path(path)
    bundle = StoredBundle.read(root.parents[1], str(root.parents[1])).open()
    settings = model_config or {}
    scorer = BundleScorer(bundle, Choice.of(bundle, settings), allow_unsafe_ops=bool(settings.get("allow_unsafe_ops")))
    scorer.load()
    return scorer


class BundleScorer:
    """Answers for a bundle. Versions and forms are loaded when they are first asked for, and stay loaded.

    Args:
        bundle: the bundle.
        choice: what answers, unless a call's parameters say otherwise.
        allow_unsafe_ops: whether models may have operators that reach out of the graph.
    """

    def __init__(self, bundle: Bundle, choice: Choice, *, allow_unsafe_ops: bool = False) -> None:
        self.bundle = bundle
        self.choice = choice
        self._allow_unsafe_ops = allow_unsafe_ops
        self._lock = threading.Lock()
        self._runs: dict[tuple[str, int, str], Run] = {}

    def load(self) -> None:
        """Load what answers without parameters.

        Raises:
            VerifyError: its files are not those that were logged, or cannot be run.
        """
        self._run(self.choice)

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> dict[str, Array]:
        """Return the answer to a call.

        Args:
            data: a dict of arrays by input name, a DataFrame with a column for each input, or, for a model with one input, the
                array itself or a DataFrame with a column for each of its features.
            params: `signature_name`, `version` (a number as text, or a label) and `form`; an empty text leaves one as it is.

        Returns:
            Arrays by output name.

        Raises:
            mlflow.exceptions.MlflowException: the inputs do not fit, or there is no such signature, version or form.
        """
        with _as_mlflow_errors():
            choice = self.choice.changed(self.bundle, params or {})
            tensors = choice.tensors(self.bundle)
            arrays = to_inputs(data, tensors.inputs)
            return to_outputs(self._run(choice)(choice.signature_name, arrays))

    def _run(self, choice: Choice) -> Run:
        key = (choice.model, choice.version, choice.form)
        if key not in self._runs:  # else nobody waits while another version is loaded
            with self._lock:
                if key not in self._runs:
                    self._runs[key] = self._load(choice)
        return self._runs[key]

    def _load(self, choice: Choice) -> Run:
        if choice.form in (SAVED_MODEL, FAST_PATH):
            return self._load_servable(choice)
        return self._load_variant(choice)

    def _load_servable(self, choice: Choice) -> Run:
        """Load a SavedModel or its fast path as the embedded server does, which compares the files with bundle.json."""
        from serving.server.config.options import ServerOptions
        from serving.server.methods.predict import run_signature
        from serving.server.servables.load import load_servable

        folder = self.bundle.layout.version_dir(choice.model, choice.version)
        options = ServerOptions(prefer_tflite=choice.form == FAST_PATH, allow_unsafe_ops=self._allow_unsafe_ops)
        try:
            servable = load_servable(str(folder), options)
        except StatusError as exc:
            raise _not_loaded(exc, folder) from exc

        def run(name: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
            return run_signature(servable, name, arrays, read=lambda alias: arrays[alias])

        return run

    def _load_variant(self, choice: Choice) -> Run:
        from bundler.tflite.runner import TfliteModel
        from bundler.validation.unsafe import tflite_uses, unsafe_model

        path = self.bundle.layout.tflite_file(choice.model, choice.version, choice.form)
        relative = self.bundle.layout.relative(path)
        if not path.is_file() or FileEntry.of(path) != self.bundle.manifest.files.get(relative):
            raise VerifyError(
                f"{relative} is not the file that was logged.", where=str(path), fix=_AGAIN, code="TFB9402"
            )
        if not self._allow_unsafe_ops and (uses := tflite_uses(path)):
            refused = unsafe_model([str(use) for use in uses], where=str(path))
            refused.fix = _TRUSTED
            raise refused
        model, lock = TfliteModel(path), threading.Lock()
        dtypes = {spec.name: spec.dtype for spec in choice.tensors(self.bundle).outputs}

        def run(name: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
            with lock:
                return model.run_in_floats(arrays, dtypes)

        return run


_TRUSTED = 'if you trust whoever made it, load it with model_config={"allow_unsafe_ops": True}'
_AGAIN = "load the model again into another folder; if that fails, too, log the bundle again"


def _not_loaded(exc: StatusError, folder: Path) -> TfbundleError:
    """Return the error for a version that the servable refuses to load."""
    if exc.code is Code.PERMISSION_DENIED:
        return UnsafeModelError(str(exc.message).partition(" To load it all the same")[0], where=str(folder), fix=_TRUSTED)
    return VerifyError(f"The version cannot be run: {exc.message}", where=str(folder), fix=_AGAIN, code="TFB9402")


@contextmanager
def _as_mlflow_errors() -> Iterator[None]:
    """Turn what a call can cause into MLflow's exception, whose message is the only one that a scoring server passes on."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except StatusError as exc:
        raise MlflowException.invalid_parameter_value(f"{exc.code.name}: {exc.message}") from exc
    except ExplainedError as exc:
        is_ours = isinstance(exc, VerifyError) and exc.code != "TFB1006"
        make = MlflowException if is_ours else MlflowException.invalid_parameter_value  # the first one is an INTERNAL_ERROR
        raise make(f"{exc.code}: {exc}") from exc
