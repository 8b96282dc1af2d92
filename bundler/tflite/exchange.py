"""The folder through which a build and its TFLite process talk (`bundler.tflite.worker`).

    setup.json                  what the requests have in common
    saved_model/                the model with static shapes
    draws/<signature>/N.npz     inputs by name, in the served order
    samples/<signature>/N.npz   calibration calls
    at                          file and step at hand: `int8 converting`, `int8 running`
    <name>.tflite               what was made
    <name>.outputs/<signature>/N.npz   what it answered to each draw
    worker.log                  what the process printed
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from bundler.errors import TfliteError
from bundler.process import worker
from bundler.process.reports import keep_report
from bundler.values.arrays import Array

_WORKER = "bundler.tflite.worker"
_PREFIX = "tensor/"  # so that no tensor's name can be a parameter of numpy.savez


@dataclass(frozen=True)
class Setup:
    """What all files of a model have in common."""

    signatures: tuple[str, ...]
    io_type: Literal["int8", "uint8"] = "int8"
    select_tf_ops: bool = False

    def write(self, work: Path) -> None:
        (work / "setup.json").write_text(json.dumps(asdict(self)), "utf-8")

    @classmethod
    def read(cls, work: Path) -> Setup:
        data = json.loads((work / "setup.json").read_text("utf-8"))
        return cls(tuple(data["signatures"]), data["io_type"], data["select_tf_ops"])


@dataclass(frozen=True)
class Made:
    """A .tflite file that was converted and run.

    Attributes:
        outputs: by signature, for each of its draws, by name; floats where the file has quantized integers.
        latency_ms: median milliseconds of a call, by number of threads; empty for an attempt.
        run: whether the file could be run here; without, there are neither outputs nor latencies.
    """

    path: Path
    outputs: Mapping[str, tuple[dict[str, Array], ...]]
    latency_ms: dict[int, float]
    run: bool = True


class ConverterReportError(Exception):
    """TensorFlow's whole report, as the cause of a TfliteError; `--debug` shows it."""


def save_calls(folder: Path, calls: Iterable[Mapping[str, Array]]) -> None:
    """Write calls, arrays by tensor name, into the folder; what was in it is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for index, call in enumerate(calls):
        named: dict[str, Any] = {_PREFIX + name: array for name, array in call.items()}
        np.savez(folder / f"{index}.npz", **named)


def load_calls(folder: Path) -> Iterator[dict[str, Array]]:
    """Read what `save_calls` wrote, in order."""
    for index in range(len(list(folder.iterdir()))):
        with np.load(folder / f"{index}.npz", allow_pickle=False) as data:
            yield {key.removeprefix(_PREFIX): data[key] for key in data.files}


class WorkerClient:
    """The TFLite process of one model; a request that ends it does not keep the next from being answered.

    Use it in a `with` block, at the end of which the process is gone.
    """

    def __init__(self, work: Path) -> None:
        self._work = work
        self._log = work / "worker.log"
        self._setup = Setup.read(work)
        self._timeout_s = worker.worker_timeout()
        self._process: worker.WorkerProcess | None = None

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def make(self, variant: str, float_layers: Sequence[str] = ()) -> Made:
        """A variant, measured.

        Raises:
            TfliteError: it cannot be made or run, or the process ended over it.
        """
        answer = self._ask(variant, {"do": "make", "variant": variant, "name": variant, "float_layers": list(float_layers)})
        return self._made(variant, answer)

    def attempt(self, float_layers: Sequence[str]) -> Made:
        """int8 with these layers float, run but not timed; it is there until the next attempt.

        Raises:
            TfliteError: as `make`.
        """
        return self._made("attempt", self._ask("mix", {"do": "try", "name": "attempt", "float_layers": list(float_layers)}))

    def layers(self) -> list[tuple[str, str]]:
        """Tensor and operator of each layer that int8 may leave float.

        Raises:
            TfliteError: the model cannot be calibrated.
        """
        return [(layer["tensor"], layer["operator"]) for layer in self._ask("int8", {"do": "layers"})["layers"]]

    def losses(self, groups: Sequence[Sequence[str]]) -> list[float]:
        """`sensitivity.Sensitivity.loss` of each group of layers' tensors.

        Raises:
            TfliteError: as `make`.
        """
        # A request each: the time-out is that of one group.
        return [self._ask("int8", {"do": "losses", "groups": [list(group)]})["losses"][0] for group in groups]

    def _made(self, name: str, answer: Mapping[str, Any]) -> Made:
        path = self._work / f"{name}.tflite"
        if not answer.get("run", True):
            return Made(path, {}, {}, run=False)
        outputs = self._work / f"{name}.outputs"
        answers = {signature: tuple(load_calls(outputs / signature)) for signature in self._setup.signatures}
        latency = {int(threads): float(ms) for threads, ms in answer.get("latency_ms", {}).items()}
        return Made(path, answers, latency)

    def _ask(self, variant: str, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._process is None:
            self._process = worker.WorkerProcess(_WORKER, [str(self._work)], self._log)
        try:
            answer = self._process.ask(request, self._timeout_s)
        except worker.WorkerEndedError as exc:
            self._stop()
            raise self._crash(variant, exc.status) from exc
        except worker.WorkerTimeoutError as exc:
            self._stop()
            raise self._timed_out(variant) from exc
        if "error" in answer:
            error = TfliteError(**answer["error"])
            raise error from ConverterReportError(answer["report"])
        return answer

    def _stop(self) -> None:
        if self._process is not None:
            self._process.close()
        self._process = None

    def _activity(self, variant: str) -> str:
        """What the process was doing, as part of a sentence: `LiteRT, running the int8 file`."""
        at = self._work / "at"
        step = at.read_text("utf-8") if at.exists() else ""
        doing = "LiteRT, running" if step.endswith(" running") else "TensorFlow's TFLite converter, making"
        return f"{doing} the {variant} file"

    def _crash(self, variant: str, status: int) -> TfliteError:
        fix = f"leave {variant} out of --tflite"
        if worker.was_killed(status):
            fix = f"free memory and try again, or {fix}"
        elif variant.startswith("int"):
            fix += "; recurrent layers are known to break TensorFlow's int8 quantizer"
        return TfliteError(
            f"The process of {self._activity(variant)}, {worker.how_it_ended(status, self._log)}", fix=fix
        )

    def _timed_out(self, variant: str) -> TfliteError:
        return worker_timeout_error(
            self._activity(variant), f"tflite-{variant}", self._log, self._timeout_s, f"leave {variant} out of --tflite"
        )


def worker_timeout_error(activity: str, subject: str, log: Path, timeout_s: float, alternative: str) -> TfliteError:
    """Return the error for a process that gave no result in time, and keep its log.

    Args:
        activity: what the process was doing, as part of a sentence: `LiteRT, running the int8 file`.
        subject: what it was about, for the name of the log that is kept.
        log: the process's log, in a folder that will be deleted.
        timeout_s: the time-out in seconds.
        alternative: what the user can do without the result.
    """
    last = worker.last_words(log)
    kept = keep_report(subject, ".log", log.read_text("utf-8", "replace"))
    return TfliteError(
        f"The process of {activity}, gave no result within {timeout_s:g} seconds and was killed."
        + (f" Its last words: {last}" if last else ""),
        where=str(kept),
        fix=f"if the machine is slow, allow more time with {worker.TIMEOUT_ENV}=SECONDS; otherwise {alternative}",
    )


def move(made: Made, target: Path) -> None:
    """Bring the file to its place."""
    shutil.move(made.path, target)
