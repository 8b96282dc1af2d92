"""Runs one model in one runtime, in a separate process that measures itself on request.

    python -m benchmarks.support.contender saved_model|mixed_precision|onnxruntime|tflite PATH INPUTS.npz THREADS ANSWER.npz

The process writes its answer to ANSWER.npz and the line `ready` to stdout. For each line `N BATCH` on stdin it makes N calls with
the example repeated BATCH times and writes their milliseconds as one line of JSON, or null if the model does not accept that
batch. It sleeps until its next turn, so that contenders do not disturb each other. `Contender` is the other end.
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

from benchmarks.support.common import ROOT, BenchmarkError

Array = np.ndarray[Any, np.dtype[Any]]
Run = Callable[[], Mapping[str, Array]]
Bind = Callable[[Mapping[str, Array]], Run]
"""Returns a call for these inputs. Raises ValueError if the model does not accept their shapes."""


class Contender:
    """A runtime with a model, warmed up and waiting for its turn."""

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

    def measure(self, calls: int, batch: int = 1) -> list[float]:
        """Return the milliseconds of each of `calls` calls.

        Raises:
            BenchmarkError: the model does not accept the batch.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(f"{calls} {batch}\n")
        self._process.stdin.flush()
        figures: list[float] | None = json.loads(self._receive())
        if figures is None:
            raise BenchmarkError(f"{self._path} does not accept a batch of {batch}")
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


def saved_model(path: Path, threads: int) -> Bind:
    """Bind serving_default of a SavedModel. An image for a channels-last input is transposed here, outside of the measurement."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    model = tf.saved_model.load(str(path))
    function = model.signatures["serving_default"]
    specs = function.structured_input_signature[1]

    def bind(inputs: Mapping[str, Array], keep: Any = model) -> Run:
        tensors = {name: tf.constant(_fitted(a, specs[name].shape)) for name, a in _by_name(inputs, list(specs)).items()}
        return lambda: {key: value.numpy() for key, value in function(**tensors).items()}

    return bind


def mixed_precision(path: Path, threads: int) -> Bind:
    """Bind serving_default of a SavedModel, with products rewritten to bfloat16 as under --mixed_precision=bfloat16."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
    return saved_model(path, threads)


def onnxruntime(path: Path, threads: int) -> Bind:
    """Bind an .onnx file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Its threads spin for a while after a call, which slows down the next contender: 1.3 times, for a call of 6 ms.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: lambda: dict(zip(names, session.run(None, dict(inputs)), strict=True))


def tflite(path: Path, threads: int) -> Bind:
    """Bind the only signature of a .tflite file, with its own shapes."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    details = runner.get_input_details()
    outputs = {name: detail["index"] for name, detail in runner.get_output_details().items()}
    del runner  # `invoke` fails while it exists

    def bind(inputs: Mapping[str, Array]) -> Run:
        for name, array in _by_name(inputs, list(details)).items():
            fitted = _fitted(array, details[name]["shape"]).astype(details[name]["dtype"])
            interpreter.set_tensor(details[name]["index"], fitted)
        return call

    def call() -> Mapping[str, Array]:
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in outputs.items()}

    return bind


def _by_name(inputs: Mapping[str, Array], names: list[str]) -> dict[str, Array]:
    """Return the inputs by the model's own names, assigned by order if the names differ."""
    if set(names) == inputs.keys():
        return dict(inputs)
    return dict(zip(sorted(names), inputs.values(), strict=True))


def _fitted(array: Array, shape: Any) -> Array:
    """Return the array, channels last if only that fits a shape, in which None and -1 fit any size."""
    sizes = [None if size is None or size < 0 else int(size) for size in shape]
    for candidate in (array, *([array.transpose(0, 2, 3, 1)] if array.ndim == 4 else [])):
        if len(sizes) == candidate.ndim and all(s in (None, n) for s, n in zip(sizes, candidate.shape, strict=True)):
            return candidate
    raise ValueError(f"{array.shape} does not fit {sizes}")


KINDS: dict[str, Callable[[Path, int], Bind]] = {
    "saved_model": saved_model, "mixed_precision": mixed_precision, "onnxruntime": onnxruntime, "tflite": tflite,
}  # fmt: skip


def main(kind: str, path: str, inputs: str, threads: str, answer: str) -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print to stdout goes to stderr
    with np.load(inputs) as data:
        example = dict(data)
    bind = KINDS[kind](Path(path), int(threads))
    calls = {1: bind(example)}
    np.savez(answer, **calls[1]())  # type: ignore[arg-type]
    for _ in range(10):
        calls[1]()
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        count, batch = map(int, line.split())
        time.sleep(0.02)  # until the threads of the previous contender are at rest
        try:
            if batch not in calls:
                calls[batch] = bind({name: np.concatenate([array] * batch) for name, array in example.items()})
            figures = [_milliseconds(calls[batch]) for _ in range(count)]
        except ValueError:
            figures = None
        print(json.dumps(figures), file=replies, flush=True)


def _milliseconds(call: Run) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e3


if __name__ == "__main__":
    main(*sys.argv[1:])
