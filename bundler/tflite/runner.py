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
from bundler.process.stderr import captured_stderr
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT
from bundler.values.signature import TensorSpec

WARM_UP_RUNS = 3
MIN_RUNS, MAX_RUNS, BUDGET_S = 5, 50, 1.0
THREADS = (1, 2)
"""Numbers of threads that latencies are measured with."""


@dataclass(frozen=True)
class Scale:
    """How an integer input or output stands for floats: value = scale * (integer - zero_point)."""

    scale: float
    zero_point: int

    def quantized(self, values: Array, dtype: np.dtype[Any]) -> Array:
        """The nearest integers within the dtype's range, as LiteRT's QUANTIZE computes them."""
        info = np.iinfo(dtype)
        steps = np.round(values.astype(np.float64) / self.scale) + self.zero_point
        return np.clip(steps, info.min, info.max).astype(dtype)

    def floats(self, integers: Array) -> Array:
        return ((integers.astype(np.float64) - self.zero_point) * self.scale).astype(np.float32)


class TfliteModel:
    """A .tflite file ready to run; inputs and outputs by the names of one of its signatures.

    Args:
        signature: default: serving_default, or the only one.

    Raises:
        TfliteError: the file is damaged, or the interpreter cannot run it.
    """

    def __init__(self, path: Path, threads: int = 1, signature: str | None = None) -> None:
        self.path = path
        self._interpreter = prepared(path, threads)
        self._runner = self._interpreter.get_signature_runner(signature or _default(self._interpreter))

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return _specs(self._runner.get_input_details())

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return _specs(self._runner.get_output_details())

    @property
    def scales(self) -> dict[str, Scale]:
        """Of the inputs and outputs that are quantized integers."""
        found = {**self._runner.get_input_details(), **self._runner.get_output_details()}
        pairs = {name: detail["quantization"] for name, detail in found.items()}
        return {name: Scale(float(scale), int(zero)) for name, (scale, zero) in pairs.items() if scale}

    def in_floats(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, floats in and out where the file has quantized integers; else as `__call__`.

        Raises:
            TfliteError: as `__call__`.
        """
        scales, types = self.scales, {spec.name: np.dtype(spec.dtype) for spec in self.inputs}
        fed = {
            name: scales[name].quantized(array, types[name]) if name in scales and array.dtype.kind == "f" else array
            for name, array in inputs.items()
        }
        return {name: scales[name].floats(out) if name in scales else out for name, out in self(fed).items()}

    def __call__(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name.

        Raises:
            TfliteError: an input is missing, unknown or of another dtype or shape, or LiteRT stopped.
        """
        want = {spec.name: spec for spec in self.inputs}
        given = {name: TensorSpec(name, array.dtype.name, array.shape) for name, array in inputs.items()}
        if want != given:
            takes = ", ".join(str(spec) for spec in want.values())
            raise TfliteError(
                f"The file takes {takes}; given was {', '.join(str(s) for s in given.values())}.",
                where=str(self.path),
            )
        try:
            with captured_stderr() as noise:
                outputs = self._runner(**inputs)
        except (ValueError, RuntimeError) as exc:
            raise TfliteError(f"LiteRT stopped: {_said(exc, noise.text)}", where=str(self.path)) from exc
        return {name: np.array(value) for name, value in outputs.items()}


def latency_ms(path: Path, inputs: Mapping[str, Array], threads: int) -> float:
    """Median milliseconds of a call of serving_default (see `median_ms`).

    Raises:
        TfliteError: the interpreter cannot run the file.
    """
    return median_ms(_invoker(prepared(path, threads), inputs))


def median_ms(call: Callable[[], object]) -> float:
    """Median milliseconds of a call after warm-up: up to 50 calls or one second, at least 5."""
    for _ in range(WARM_UP_RUNS):
        call()
    times: list[float] = []
    while len(times) < MIN_RUNS or (len(times) < MAX_RUNS and sum(times) < BUDGET_S):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3


def _invoker(interpreter: Any, inputs: Mapping[str, Array]) -> Callable[[], Any]:
    """Runs the default signature on these inputs, with as little around it as there can be."""
    runner = interpreter.get_signature_runner(_default(interpreter))
    details = runner.get_input_details()
    fed = {name: _fitting(details[name], array) for name, array in inputs.items()}
    if len(interpreter.get_signature_list()) > 1:
        return partial(runner, **fed)  # plain `invoke` runs the first graph, whichever signature that is
    del runner  # `invoke` is refused while a signature runner lives
    for name, array in fed.items():
        interpreter.set_tensor(details[name]["index"], array)
    run: Callable[[], Any] = interpreter.invoke
    return run


def _default(interpreter: Any) -> str | None:
    return SERVING_DEFAULT if SERVING_DEFAULT in interpreter.get_signature_list() else None


def _fitting(detail: Mapping[str, Any], array: Array) -> Array:
    """Floats as the integers that the file's input takes."""
    scale, zero = detail["quantization"]
    if not scale or array.dtype.kind != "f":
        return array
    return Scale(float(scale), int(zero)).quantized(array, np.dtype(detail["dtype"]))


def prepared(path: Path, threads: int) -> Any:
    """LiteRT's interpreter with the file, ready to be called.

    Raises:
        TfliteError: the file is damaged, or the interpreter cannot run it.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        with captured_stderr() as noise:
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as exc:
        reason = _said(exc, noise.text)
        raise TfliteError(f"LiteRT cannot run the file: {reason}", where=str(path)) from exc
    return interpreter


def _specs(details: Mapping[str, Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    def spec(name: str, detail: Mapping[str, Any]) -> TensorSpec:
        return TensorSpec(name, np.dtype(detail["dtype"]).name, tuple(int(n) for n in detail["shape"]))

    return tuple(spec(name, detail) for name, detail in details.items())


def _said(exc: Exception, noise: str) -> str:
    """LiteRT's own words, which it writes to stderr (`ERROR: …`), else the exception's."""
    errors = [line.removeprefix("ERROR:").strip() for line in noise.splitlines() if line.startswith("ERROR:")]
    return "; ".join(errors) or str(exc).strip() or type(exc).__name__
