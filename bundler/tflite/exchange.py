"""The work folder through which a build and its TFLite process (`bundler.tflite.worker`) exchange data, and the client side.

- setup.json: settings that all requests share
- saved_model/: the model with static shapes
- draws/<signature>/N.npz: inputs of the test calls by name, as the files take them
- samples/<signature>/N.npz: calibration calls
- <process>.at: the current file and step, `int8 converting` or `int8 running`
- <name>.tflite: a converted file
- <name>.outputs/<signature>/N.npz: its outputs for each test call
- <process>.log: what the process printed
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from bundler.errors import TfliteError
from bundler.process import worker
from bundler.process.clock import records_times
from bundler.process.reports import keep_report
from bundler.spec.bundle_spec import CALIBRATED
from bundler.values.arrays import Array

_WORKER = "bundler.tflite.worker"
_PREFIX = "tensor/"  # keeps tensor names apart from the parameters of numpy.savez


@dataclass(frozen=True)
class Setup:
    """The settings that all files of a model share.

    Attributes:
        signatures: names of the files' signatures, serving_default first.
        io_type: type of quantized inputs and outputs.
        select_tf_ops: whether TensorFlow's kernels may compute what TFLite has no operator for.
        io: `portable`, or `model` for files with the model's types.
        output_dtypes: the model's dtypes of outputs, by name, to which a file's outputs are converted for comparisons.
        pixels: the input that takes pixels of 0 to 255, or None.
        per_tensor_dense: whether int8 weights of dense layers have one scale, in `dynamic` (`lowering.needs_per_tensor`).
    """

    signatures: tuple[str, ...]
    io_type: Literal["int8", "uint8"] = "int8"
    select_tf_ops: bool = False
    io: Literal["portable", "model"] = "model"
    output_dtypes: Mapping[str, str] = field(default_factory=dict)
    per_tensor_dense: bool = False
    pixels: str | None = None

    def write(self, work: Path) -> None:
        """Write the settings into the work folder."""
        (work / "setup.json").write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, work: Path) -> Setup:
        """Read the settings of a work folder."""
        data = json.loads((work / "setup.json").read_text("utf-8"))
        return cls(**{**data, "signatures": tuple(data["signatures"])})


@dataclass(frozen=True)
class ConvertedFile:
    """A .tflite file that was converted and run.

    Attributes:
        path: the file.
        outputs: outputs by name for each test call, by signature; quantized outputs are converted to floats.
        latency_ms: median latency of one call in milliseconds, by number of threads; empty until it is measured.
        was_run: whether the file could be run here; if not, there are neither outputs nor latencies.
        unhealthy: what is wrong with tensors within an int8 file, by their names (`bundler.tflite.health`).
        float_ms: for an int8 or int4 file that is measured, the latency of the same graph in float32, with one thread.
        int8_layers: for an int4 file, tensor and operator of each layer that is int8 for accuracy.
        leading: how many of its first convolutions and fully connected layers are float for accuracy (`bundler.tflite.leading`).
    """

    path: Path
    outputs: Mapping[str, tuple[dict[str, Array], ...]]
    latency_ms: dict[int, float]
    was_run: bool = True
    unhealthy: Mapping[str, str] = field(default_factory=dict)
    float_ms: float | None = None
    leading: int = 0
    int8_layers: Sequence[Sequence[str]] = ()


class ConverterReportError(Exception):
    """TensorFlow's full report, the cause of a TfliteError; `--debug` shows it."""


def save_calls(folder: Path, calls: Iterable[Mapping[str, Array]]) -> None:
    """Write calls, each a mapping of arrays by tensor name, into the folder, replacing its content."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for index, call in enumerate(calls):
        named: dict[str, Any] = {_PREFIX + name: array for name, array in call.items()}
        np.savez(folder / f"{index}.npz", **named)


def load_calls(folder: Path) -> Iterator[dict[str, Array]]:
    """Yield the calls that `save_calls` wrote, in order."""
    for index in range(len(list(folder.iterdir()))):
        with np.load(folder / f"{index}.npz", allow_pickle=False) as data:
            yield {key.removeprefix(_PREFIX): data[key] for key in data.files}


class WorkerClient:
    """The client of a TFLite process. After a request that crashes the process, the next request starts a new one.

    Use it as a context manager; the process ends with the block.

    Args:
        work: the work folder, which has to be filled before the first request.
        name: the name of the process, for its files.

    Attributes:
        turn: held by the thread that has a request answered.
    """

    def __init__(self, work: Path, name: str = "worker") -> None:
        self.turn = threading.RLock()
        self._work, self._name = work, name
        self._log = work / f"{name}.log"
        self._timeout_s = worker.worker_timeout()
        self._process: worker.WorkerProcess | None = None

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the process, so that it has imported TensorFlow when the first request comes."""
        self._process = worker.WorkerProcess(_WORKER, [str(self._work), self._name], self._log)

    def kill(self) -> None:
        """End the process, whatever it is doing; a request that waits for it fails."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End the process, and free what it holds. No request may be waiting."""
        if self._process is not None:
            self._process.close()
        self._process = None

    def make(self, variant: str, float_layers: Sequence[str] = ()) -> ConvertedFile:
        """Convert and run a variant.

        Args:
            variant: the variant's name.
            float_layers: tensors of the layers that stay float.

        Raises:
            TfliteError: the variant cannot be made or run, or the process ended.
        """
        request = {"do": "make", "variant": variant, "name": variant, "float_layers": list(float_layers)}
        return self._converted_file(variant, self._request(variant, request))

    def measured(self, variant: str, file: ConvertedFile) -> ConvertedFile:
        """Return a file with its latency, for an int8 file also that of the same graph in float32, if times are recorded.

        Raises:
            TfliteError: the file cannot be run, or the process ended.
        """
        if not (file.was_run and records_times()):
            return file
        answer = self._request(variant, {"do": "measure", "variant": variant, "name": variant})
        latency = {int(threads): float(ms) for threads, ms in answer["latency_ms"].items()}
        return replace(file, latency_ms=latency, float_ms=answer["float_ms"])

    def attempt(self, float_layers: Sequence[str]) -> ConvertedFile:
        """Convert and run int8 with these layers float. The next attempt overwrites the file.

        Raises:
            TfliteError: as `make`.
        """
        request = {"do": "try", "name": "attempt", "float_layers": list(float_layers)}
        return self._converted_file("attempt", self._request("mix", request))

    def layers(self) -> list[tuple[str, str]]:
        """Return the tensor and the operator of each layer that can be int8 or float.

        Raises:
            TfliteError: the model cannot be calibrated.
        """
        return [(layer["tensor"], layer["operator"]) for layer in self._request("int8", {"do": "layers"})["layers"]]

    def losses(self, groups: Sequence[Sequence[str]]) -> list[float]:
        """Return the loss (`sensitivity.Sensitivity.loss`) of each group of layers, given by their tensors.

        Raises:
            TfliteError: as `make`.
        """
        # One request per group, so that the time-out is that of one group.
        return [self._request("int8", {"do": "losses", "groups": [list(group)]})["losses"][0] for group in groups]

    def _converted_file(self, name: str, answer: Mapping[str, Any]) -> ConvertedFile:
        path = self._work / f"{name}.tflite"
        if not answer.get("run", True):
            return ConvertedFile(path, {}, {}, was_run=False)
        folder = self._work / f"{name}.outputs"
        outputs = {signature: tuple(load_calls(folder / signature)) for signature in Setup.read(self._work).signatures}
        known = {key: answer[key] for key in ("unhealthy", "leading", "int8_layers") if key in answer}
        return ConvertedFile(path, outputs, {}, **known)

    def _request(self, variant: str, request: Mapping[str, Any]) -> dict[str, Any]:
        with self.turn:
            if self._process is None:
                self.start()
            assert self._process is not None
            try:
                answer = self._process.ask(request, self._timeout_s)
            except worker.WorkerEndedError as exc:
                self.close()
                raise self._crash_error(variant, exc.status) from exc
            except worker.WorkerTimeoutError as exc:
                self.close()
                raise self._timeout_error(variant) from exc
        if "error" in answer:
            error = TfliteError(**answer["error"])
            raise error from ConverterReportError(answer["report"])
        return answer

    def _activity(self, variant: str) -> str:
        """Return what the process was doing, as part of a sentence: `running the int8 file with LiteRT`."""
        at = self._work / f"{self._name}.at"
        step = at.read_text("utf-8") if at.exists() else ""
        if step.endswith(" running"):
            return f"running the {variant} file with LiteRT"
        return f"building the {variant} file with TensorFlow's TFLite converter"

    def _crash_error(self, variant: str, status: int) -> TfliteError:
        fix = f"leave {variant} out of --tflite"
        if worker.was_killed(status):
            fix = f"free memory and try again, or {fix}"
        elif variant in CALIBRATED:
            fix += "; TensorFlow's int8 quantizer is known to crash on recurrent layers"
        return TfliteError(
            f"The process {self._activity(variant)} {worker.how_it_ended(status, self._log)}", fix=fix, code="TFB4204"
        )

    def _timeout_error(self, variant: str) -> TfliteError:
        return worker_timeout_error(
            self._activity(variant), f"tflite-{variant}", self._log, self._timeout_s, f"leave {variant} out of --tflite"
        )


def worker_timeout_error(activity: str, subject: str, log: Path, timeout_s: float, alternative: str) -> TfliteError:
    """Return the error for a process that gave no result in time, and keep its log.

    Args:
        activity: what the process was doing, as part of a sentence: `running the int8 file with LiteRT`.
        subject: what it was about, for the name of the log that is kept.
        log: the process's log, in a folder that will be deleted.
        timeout_s: the time-out in seconds.
        alternative: what the user can do without the result.
    """
    last = worker.last_words(log)
    kept = keep_report(subject, ".log", log.read_text("utf-8", "replace"))
    return TfliteError(
        f"The process {activity} gave no result within {timeout_s:g} seconds and was killed."
        + (f" Its last output: {last}" if last else ""),
        where=str(kept),
        fix=f"if the machine is slow, allow more time with {worker.TIMEOUT_ENV}=SECONDS; otherwise {alternative}",
        code="TFB4204",
    )


def move(file: ConvertedFile, target: Path) -> None:
    """Move a converted file out of the work folder."""
    shutil.move(file.path, target)
