"""Runs a .tflite file with LiteRT's interpreter (XNNPACK, its CPU default) and measures its latency."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bundler.errors import TfliteError
from bundler.tflite.portable import ENDS
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT
from bundler.values.signature import TensorSpec
from serving.stderr import captured_stderr

WARM_UP_RUNS = 3
MIN_RUNS, MAX_RUNS, BUDGET_S = 5, 50, 1.0
THREADS = (1, 2)
"""Numbers of threads for which latency is measured."""


@dataclass(frozen=True)
class Scale:
    """The quantization of an integer input or output: value = scale * (integer - zero_point)."""

    scale: float
    zero_point: int

    def quantized(self, values: Array, dtype: np.dtype[Any]) -> Array:
        """Quantize values to the nearest integers within the dtype's range, as LiteRT's QUANTIZE does."""
        info = np.iinfo(dtype)
        steps = np.round(values.astype(np.float64) / self.scale) + self.zero_point
        return np.clip(steps, info.min, info.max).astype(dtype)

    def floats(self, integers: Array) -> Array:
        """Dequantize integers to float32."""
        return ((integers.astype(np.float64) - self.zero_point) * self.scale).astype(np.float32)


class TfliteModel:
    """A .tflite file ready to run, with inputs and outputs by the names of one of its signatures.

    Args:
        path: the file.
        threads: number of threads.
        signature: the signature to run; None for serving_default, or for the only signature.

    Raises:
        TfliteError: the file is damaged, or the interpreter cannot run it.
    """

    def __init__(self, path: Path, threads: int = 1, signature: str | None = None) -> None:
        self.path = path
        self._interpreter = prepare_interpreter(path, threads)
        self._runner = self._interpreter.get_signature_runner(signature or _default_signature(self._interpreter))

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The signature's inputs."""
        return _specs(self._runner.get_input_details())

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The signature's outputs."""
        return _specs(self._runner.get_output_details())

    @property
    def scales(self) -> dict[str, Scale]:
        """The scales of the inputs and outputs that are quantized integers, by name."""
        details = {**self._runner.get_input_details(), **self._runner.get_output_details()}
        pairs = {name: detail["quantization"] for name, detail in details.items()}
        return {name: Scale(float(scale), int(zero)) for name, (scale, zero) in pairs.items() if scale}

    def run_in_floats(self, inputs: Mapping[str, Array], dtypes: Mapping[str, str] | None = None) -> dict[str, Array]:
        """Return the outputs by name, converting the model's inputs and outputs to and from the file's.

        Floats are quantized, and other inputs converted to the types of a portable file (`bundler.tflite.portable`).

        Args:
            inputs: the inputs by name, in the model's dtypes.
            dtypes: the model's dtypes of outputs, by name; an output that is not listed keeps the file's.

        Raises:
            TfliteError: as `__call__`.
        """
        details, scales, wanted = self._runner.get_input_details(), self.scales, dtypes or {}
        file_inputs = {
            name: as_taken(details[name], array) if name in details else array for name, array in inputs.items()
        }
        outputs = self(file_inputs)
        floats = {name: scales[name].floats(out) if name in scales else out for name, out in outputs.items()}
        return {name: _to_model(out, wanted.get(name)) for name, out in floats.items()}

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the outputs by name.

        Raises:
            TfliteError: an input is missing or unknown or has another dtype or shape, or LiteRT fails.
        """
        expected = {spec.name: spec for spec in self.inputs}
        actual = {name: TensorSpec(name, array.dtype.name, array.shape) for name, array in inputs.items()}
        if set(expected) != set(actual) or not all(_takes(spec, actual[name]) for name, spec in expected.items()):
            raise TfliteError(
                f"The file takes {', '.join(map(str, expected.values()))}, but got {', '.join(map(str, actual.values()))}.",
                where=str(self.path),
                code="TFB4205",
            )
        try:
            with captured_stderr() as noise:
                outputs = self._runner(**inputs)
        except (ValueError, RuntimeError) as exc:
            raise TfliteError(
                f"LiteRT failed: {_reason(exc, noise.text)}", where=str(self.path), code="TFB4205"
            ) from exc
        return {name: np.array(value) for name, value in outputs.items()}


def latency_ms(path: Path, inputs: Mapping[str, Array], threads: int) -> float:
    """Return the median latency of serving_default in milliseconds (see `median_ms`).

    Raises:
        TfliteError: the interpreter cannot run the file.
    """
    return median_ms(_invoker(prepare_interpreter(path, threads), inputs))


def load_ms(path: Path) -> float:
    """Return the median time in milliseconds from a file on disk to an interpreter with one thread that is ready to run.

    This includes XNNPACK's packing of the weights. The file is in the operating system's cache.

    Raises:
        TfliteError: the interpreter cannot run the file.
    """
    times: list[float] = []
    while len(times) < MIN_RUNS and sum(times) < BUDGET_S:
        start = time.perf_counter()
        prepare_interpreter(path, 1)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def median_ms(call: Callable[[], object]) -> float:
    """Return the median duration of a call in milliseconds, after warm-up: up to 50 calls or one second, but at least 5 calls."""
    for _ in range(WARM_UP_RUNS):
        call()
    times: list[float] = []
    while len(times) < MIN_RUNS or (len(times) < MAX_RUNS and sum(times) < BUDGET_S):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def _invoker(interpreter: Any, inputs: Mapping[str, Array]) -> Callable[[], Any]:
    """Return a function that runs the default signature on these inputs with as little overhead as possible."""
    runner = interpreter.get_signature_runner(_default_signature(interpreter))
    details = runner.get_input_details()
    file_inputs = {name: as_taken(details[name], array) for name, array in inputs.items()}
    if len(interpreter.get_signature_list()) > 1:
        return partial(runner, **file_inputs)  # `invoke` would run the first graph, whichever signature that is
    del runner  # `invoke` fails while a signature runner exists
    resized = [name for name, array in file_inputs.items() if tuple(details[name]["shape"]) != array.shape]
    for name in resized:
        interpreter.resize_tensor_input(details[name]["index"], list(file_inputs[name].shape), strict=True)
    if resized:
        interpreter.allocate_tensors()
    for name, array in file_inputs.items():
        interpreter.set_tensor(details[name]["index"], array)
    run: Callable[[], Any] = interpreter.invoke
    return run


def _default_signature(interpreter: Any) -> str | None:
    return SERVING_DEFAULT if SERVING_DEFAULT in interpreter.get_signature_list() else None


def as_taken(detail: Mapping[str, Any], array: Array) -> Array:
    """Return an input in the file's dtype: floats quantized, values of a portable file's types converted, others unchanged."""
    dtype = np.dtype(detail["dtype"])
    scale, zero = detail["quantization"]
    if scale and array.dtype.kind == "f":
        return Scale(float(scale), int(zero)).quantized(array, dtype)
    return array.astype(dtype) if dtype.name == ENDS.get(array.dtype.name) else array


def _to_model(array: Array, dtype: str | None) -> Array:
    return array.astype(dtype) if dtype and ENDS.get(dtype) == array.dtype.name else array


def prepare_interpreter(path: Path, threads: int) -> Any:
    """Return LiteRT's interpreter for a file, with allocated tensors.

    Raises:
        TfliteError: the file is damaged, or the interpreter cannot run it.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        with captured_stderr() as noise:
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as exc:
        raise TfliteError(
            f"LiteRT cannot run the file: {_reason(exc, noise.text)}", where=str(path), code="TFB4205"
        ) from exc
    return interpreter


def _specs(details: Mapping[str, Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    def spec(name: str, detail: Mapping[str, Any]) -> TensorSpec:
        shape, signature = (tuple(int(n) for n in detail[key]) for key in ("shape", "shape_signature"))
        # The shape_signature of a file without one is empty; -1 is a size that the caller chooses.
        dims = signature if len(signature) == len(shape) else shape
        return TensorSpec(name, np.dtype(detail["dtype"]).name, tuple(None if n < 0 else n for n in dims))

    return tuple(spec(name, detail) for name, detail in details.items())


def _takes(spec: TensorSpec, actual: TensorSpec) -> bool:
    return (spec.dtype, len(spec.dims)) == (actual.dtype, len(actual.dims)) and all(
        size in (None, got) for size, got in zip(spec.dims, actual.dims, strict=True)
    )


def _reason(exc: Exception, noise: str) -> str:
    """Return the errors that LiteRT wrote to stderr (`ERROR: …`), or else the exception's message."""
    errors = [line.removeprefix("ERROR:").strip() for line in noise.splitlines() if line.startswith("ERROR:")]
    return "; ".join(errors) or str(exc).strip() or type(exc).__name__
