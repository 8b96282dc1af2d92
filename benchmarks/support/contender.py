"""Runs one model in one runtime, in a separate process that measures itself on request.

    python -m benchmarks.support.contender KIND PATH INPUTS.npz THREADS WORKERS ANSWER.npz

KIND is a key of KINDS. THREADS is the number of threads that one call uses, WORKERS the number of calls that run at once. The
process writes its answer to ANSWER.npz and the line `ready` to stdout, and one line of JSON for each line on stdin:

    calls N BATCH    make N calls with the example repeated BATCH times: their milliseconds, or null if the model does not accept
                     that batch
    load SECONDS     let the workers call one after the other, each with the example: their calls per second
    memory           the MiB that the process takes more than before it loaded the model and its runtime's code

It sleeps until its next turn, so that contenders do not disturb each other. `Contender` is the other end.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.support.common import MEBIBYTE, ROOT, BenchmarkError

Array = np.ndarray[Any, np.dtype[Any]]
Run = Callable[[], Mapping[str, Array]]
Bind = Callable[[Mapping[str, Array]], Run]
"""Returns a call for these inputs. Raises ValueError if the model does not accept their shapes."""


class Contender:
    """A runtime with a model, warmed up and waiting for its turn."""

    def __init__(self, kind: str, path: Path, inputs: Path, threads: int = 2, workers: int = 1) -> None:
        self._answer = tempfile.NamedTemporaryFile(suffix=".npz")  # noqa: SIM115  (closed in `close`)
        arguments = [kind, str(path), str(inputs), str(threads), str(workers), self._answer.name]
        self._process = subprocess.Popen(
            [python_of(kind), "-m", __name__, *arguments],
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
        figures: list[float] | None = self._ask(f"calls {calls} {batch}")
        if figures is None:
            raise BenchmarkError(f"{self._path} does not accept a batch of {batch}")
        return figures

    def load(self, seconds: float) -> float:
        """Return the calls per second while all workers call without a break."""
        return float(self._ask(f"load {seconds}"))

    def memory_mb(self) -> float:
        """Return the MiB that the process has taken since before it loaded the model."""
        return float(self._ask("memory"))

    def _ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return json.loads(self._receive())

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


def python_of(kind: str) -> str:
    """Return the Python that has the runtime: ours, or that of the peer's own environment."""
    if not kind.startswith("openvino"):
        return sys.executable
    from benchmarks.support.environments import ENVIRONMENTS  # not at the top: it asks for the version of our torch

    return ENVIRONMENTS["openvino"].command("python")


def saved_model(path: Path, threads: int, workers: int, mixed_precision: str = "") -> Bind:
    """Bind serving_default of a SavedModel, in a session of TensorFlow as in the server."""
    from serving.server.servables.saved_model import SavedModelServable, SessionOptions

    options = SessionOptions(intra_op_threads=threads, inter_op_threads=max(threads, workers), mixed_precision=mixed_precision)
    return _servable(SavedModelServable.load(str(path), options))


def mixed_precision(path: Path, threads: int, workers: int) -> Bind:
    """Bind serving_default of a SavedModel, with products rewritten to bfloat16 as under --mixed_precision=bfloat16."""
    return saved_model(path, threads, workers, "bfloat16")


def served_tflite(path: Path, threads: int, workers: int) -> Bind:
    """Bind the model.tflite in a version's folder as under --prefer_tflite_model: an interpreter of one thread per worker."""
    from serving.server.servables.tflite import TfliteOptions, TfliteServable

    return _servable(TfliteServable.load(str(path), TfliteOptions(pool_size=workers)))


def _servable(servable: Any) -> Bind:
    """Bind serving_default. An image for a channels-last input is transposed here, outside of the measurement."""
    signature = servable.signatures["serving_default"]
    shapes = {name: [dim.size for dim in info.tensor_shape.dim] for name, info in signature.inputs.items()}
    names = [info.name for info in signature.outputs.values()]

    def bind(inputs: Mapping[str, Array]) -> Run:
        arrays = _by_name(inputs, list(shapes)).items()
        feeds = {signature.inputs[name].name: np.ascontiguousarray(_fitted(array, shapes[name])) for name, array in arrays}
        return lambda: dict(zip(signature.outputs, servable.run(feeds, names), strict=True))

    return bind


def onnxruntime(path: Path, threads: int, workers: int) -> Bind:
    """Bind an .onnx file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Its threads spin for a while after a call, which slows down the next contender: 1.3 times, for a call of 6 ms.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: lambda: dict(zip(names, session.run(None, dict(inputs)), strict=True))


def openvino(path: Path, threads: int, workers: int, precision: str = "f32") -> Bind:
    """Bind an .onnx or .xml file, with one infer request and one stream for each worker."""
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads * workers, "NUM_STREAMS": workers,
        "PERFORMANCE_HINT": "THROUGHPUT" if workers > 1 else "LATENCY",
    }  # fmt: skip
    model = core.compile_model(core.read_model(path), "CPU", settings)
    names = [output.get_any_name() for output in model.outputs]

    def bind(inputs: Mapping[str, Array]) -> Run:
        request = model.create_infer_request()
        feeds = _by_name(inputs, [each.get_any_name() for each in model.inputs])

        def call() -> Mapping[str, Array]:
            results = request.infer(feeds, share_inputs=True, share_outputs=True)
            return {name: results[position] for position, name in enumerate(names)}

        return call

    return bind


def openvino_bfloat16(path: Path, threads: int, workers: int) -> Bind:
    """Bind an .onnx file whose products OpenVINO computes in bfloat16."""
    return openvino(path, threads, workers, "bf16")


def tflite(path: Path, threads: int, workers: int) -> Bind:
    """Bind the only signature of a .tflite file, with its own shapes. Its one interpreter serves one worker."""
    if workers > 1:
        raise ValueError("one interpreter runs one call at a time")
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


KINDS: dict[str, Callable[[Path, int, int], Bind]] = {
    "saved_model": saved_model, "mixed_precision": mixed_precision, "served_tflite": served_tflite, "tflite": tflite,
    "onnxruntime": onnxruntime, "openvino": openvino, "openvino_bfloat16": openvino_bfloat16,
}  # fmt: skip


def main(kind: str, path: str, inputs: str, threads: str, workers: str, answer: str) -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print to stdout goes to stderr
    with np.load(inputs) as data:
        example = dict(data)
    before = _resident()
    bind = KINDS[kind](Path(path), int(threads), int(workers))
    first = bind(example)
    np.savez(answer, **first())  # type: ignore[arg-type]
    turns = _Turns(bind, example, [first, *(bind(example) for _ in range(int(workers) - 1))])
    turns.calls(10, 1)
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        name, *numbers = line.split()
        time.sleep(0.02)  # until the threads of the previous contender are at rest
        if name == "memory":
            result: Any = (_resident() - before) / MEBIBYTE
        else:
            result = turns.calls(*map(int, numbers)) if name == "calls" else turns.load(*map(float, numbers))
        print(json.dumps(result), file=replies, flush=True)


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


class _Turns:
    def __init__(self, bind: Bind, example: Mapping[str, Array], workers: list[Run]) -> None:
        self._bind, self._example, self._workers = bind, example, workers
        self._calls = {1: workers[0]}

    def calls(self, count: int, batch: int) -> list[float] | None:
        """Return the milliseconds of each call, or None if the model does not accept the batch."""
        try:
            if batch not in self._calls:
                self._calls[batch] = self._bind({name: np.concatenate([a] * batch) for name, a in self._example.items()})
            return [_milliseconds(self._calls[batch]) for _ in range(count)]
        except ValueError:
            return None

    def load(self, seconds: float) -> float:
        """Return the calls per second of all workers, each in a thread of its own."""
        began = time.perf_counter()

        def work(call: Run) -> int:
            count = 0
            while time.perf_counter() < began + seconds:
                call()
                count += 1
            return count

        with ThreadPoolExecutor(len(self._workers)) as pool:
            total = sum(pool.map(work, self._workers))
        return total / (time.perf_counter() - began)


def _milliseconds(call: Run) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e3


if __name__ == "__main__":
    main(*sys.argv[1:])
