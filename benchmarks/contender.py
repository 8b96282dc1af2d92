"""One runtime with one model, in a process of its own, that measures itself when asked.

    python -m benchmarks.contender saved_model|onnxruntime|tflite PATH INPUTS.npz THREADS

`Contender` talks to it: it answers each line `N` on stdin with the milliseconds of N calls as one line of JSON.
Its first line, when it is ready, is the path of an .npz with its answer. A process that waits for its turn does
nothing, so that contenders do not disturb each other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, BenchmarkError

Array = np.ndarray[Any, np.dtype[Any]]
Run = Callable[[], Mapping[str, Array]]


class Contender:
    """A runtime with a model, warm and waiting."""

    def __init__(self, kind: str, path: Path, inputs: Path, threads: int = 2) -> None:
        self._answer = tempfile.NamedTemporaryFile(suffix=".npz")  # noqa: SIM115  (closed in `close`)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, kind, str(path), str(inputs), str(threads), self._answer.name],
            cwd=ROOT, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._path = path
        self._receive()
        with np.load(self._answer.name) as data:
            self.answer: dict[str, Array] = dict(data)

    def measure(self, calls: int) -> list[float]:
        """Milliseconds of each of `calls` calls."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{calls}\n")
        self._process.stdin.flush()
        figures: list[float] = json.loads(self._receive())
        return figures

    def _receive(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError(f"the process of {self._path} ended with {self._process.wait()}")
        return line

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()
        self._answer.close()


def saved_model(path: Path, inputs: Mapping[str, Array], threads: int) -> Run:
    """serving_default of a SavedModel. An input of channels-last shape gets the image channels-last: not our cost."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    model = tf.saved_model.load(str(path))
    function = model.signatures["serving_default"]
    ((name, spec),) = function.structured_input_signature[1].items()
    (image,) = inputs.values()
    tensor = tf.constant(image if spec.shape.is_compatible_with(image.shape) else image.transpose(0, 2, 3, 1))

    def call(keep: Any = model) -> Mapping[str, Array]:
        return {key: value.numpy() for key, value in function(**{name: tensor}).items()}

    return call


def onnxruntime(path: Path, inputs: Mapping[str, Array], threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Its threads spin for a while after a call, which would slow down whoever comes next: 1.3 times, for a call of 6 ms.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feed = dict(inputs)
    return lambda: dict(zip(names, session.run(None, feed), strict=True))


def tflite(path: Path, inputs: Mapping[str, Array], threads: int) -> Run:
    """The one signature of a .tflite file. Inputs that have other names are taken in order; see `saved_model` for the rest."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    details = runner.get_input_details()
    names = details if details.keys() == inputs.keys() else sorted(details)
    for name, array in zip(names, (inputs[n] for n in names) if names is details else inputs.values(), strict=True):
        fits = tuple(details[name]["shape"]) == array.shape
        placed = array if fits else array.transpose(0, 2, 3, 1)
        interpreter.set_tensor(details[name]["index"], placed.astype(details[name]["dtype"]))
    places = {name: detail["index"] for name, detail in runner.get_output_details().items()}
    del runner  # `invoke` is refused while it lives

    def call() -> Mapping[str, Array]:
        interpreter.invoke()
        return {name: interpreter.get_tensor(place) for name, place in places.items()}

    return call


KINDS: dict[str, Callable[[Path, Mapping[str, Array], int], Run]] = {
    "saved_model": saved_model, "onnxruntime": onnxruntime, "tflite": tflite,
}  # fmt: skip


def main(kind: str, path: str, inputs: str, threads: str, answer: str) -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries write to stdout as they please
    with np.load(inputs) as data:
        call = KINDS[kind](Path(path), dict(data), int(threads))
    np.savez(answer, **call())  # type: ignore[arg-type]
    for _ in range(10):
        call()
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        time.sleep(0.02)  # until the threads of the one before are at rest
        print(json.dumps([_milliseconds(call) for _ in range(int(line))]), file=replies, flush=True)


def _milliseconds(call: Run) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e3


if __name__ == "__main__":
    main(*sys.argv[1:])
