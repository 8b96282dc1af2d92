"""The process that converts and runs TFLite files: `python -m bundler.tflite.worker WORK NAME`.

It is a separate process because TensorFlow's quantizer and LiteRT's kernels can crash it (a recurrent layer in int8 does). WORK
is the folder that `bundler.tflite.exchange` describes, and NAME the name of the process. The process imports TensorFlow before
the first request, for which the folder has to be filled. The requests are:

- make: convert a variant and run every test call
- measure: measure the latency of a file that was made
- try: quantize to int8 with some float layers and run every test call, for the search of a mix
- layers: return the operators that can be int8 or float
- losses: for each group of layers, return the loss of the outputs when only this group is int8
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from bundler.errors import TfliteError
from bundler.process.worker import answer_requests
from bundler.saved_model.summarize import is_quantized
from bundler.spec.bundle_spec import INT8, OWN_SCALES
from bundler.tflite import contents, exchange, health, quantize
from bundler.tflite.int4 import CALLS, Int4
from bundler.tflite.int8 import Int8
from bundler.tflite.portable import PORTABLE, portable
from bundler.tflite.recurrent import start_from_zero
from bundler.tflite.runner import THREADS, TfliteModel, latency_ms
from bundler.tflite.variants import convert
from bundler.values.arrays import Array
from bundler.values.converted import SERVING_DEFAULT
from serving.imports import leave_keras_out

PLACED = ("int8", "mix")
"""Variants in which some layers are float for speed, and the first ones for accuracy."""

_FAILED = re.compile(r"Node number (\d+) \((\w+)\) failed to (?:prepare|invoke)")


class Worker:
    """Answers requests about the model in the work folder."""

    def __init__(self, work: Path, name: str = "worker") -> None:
        self._work, self._name = work, name

    @cached_property
    def _setup(self) -> exchange.Setup:
        return exchange.Setup.read(self._work)

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a request; a TfliteError is returned as an `error`."""
        tasks: dict[str, Callable[..., dict[str, Any]]] = {
            "make": self.make, "measure": self.measure, "try": self.attempt, "layers": self.layers, "losses": self.losses,
        }  # fmt: skip
        arguments = {key: value for key, value in request.items() if key != "do"}
        try:
            return tasks[request["do"]](**arguments)
        except TfliteError as exc:
            error = {"what": exc.what, "where": exc.where, "fix": exc.fix, "code": exc.code}
            return {"error": error, "report": str(exc.__cause__ or exc)}

    def make(self, variant: Any, name: str, float_layers: Sequence[str] = ()) -> dict[str, Any]:
        """Write `<name>.tflite` and, if it can be run here, its outputs.

        For a file with int8 layers, return what is wrong within it, and how many of its first layers are float; for int4 the
        layers in int8.
        """
        file = self._converted(variant, float_layers)
        if self._setup.io == PORTABLE:
            file = portable(file)
        path = self._written(name, file)
        if contents.flex(contents.operators_of(file)):
            return {"run": False}  # neither LiteRT's nor TensorFlow's Python package has the Flex delegate
        try:
            self._run(name)
        except TfliteError as exc:
            raise self._located(path, exc) from exc
        if variant == "int4":
            self._written(f"{name}-float", self._int4.float_file)
            return {"int8_layers": [(matrix.tensor, matrix.operator) for matrix in self._int4.int8]}
        if variant not in INT8 or self._has_own_scales(variant):
            return {}
        self._written(f"{name}-float", start_from_zero(self._int8.clipped.file))
        return {
            "unhealthy": health.unhealthy(self._int8.clipped, file, self._calls(SERVING_DEFAULT)),
            "leading": self._int8.leading if variant in PLACED else 0,
        }

    def measure(self, variant: Any, name: str) -> dict[str, Any]:
        """Return the latency of a file, and for a file in int8 or int4 that of the same graph in float with one thread."""
        self._at(f"{variant} running")
        draw = next(exchange.load_calls(self._work / "draws" / SERVING_DEFAULT))
        times = {threads: latency_ms(self._work / f"{name}.tflite", draw, threads) for threads in THREADS}
        in_float = self._work / f"{name}-float.tflite"
        return {"latency_ms": times, "float_ms": latency_ms(in_float, draw, 1) if in_float.exists() else None}

    def _has_own_scales(self, variant: str) -> bool:
        return variant in OWN_SCALES and is_quantized(self._work / "saved_model")

    def attempt(self, name: str, float_layers: Sequence[str]) -> dict[str, Any]:
        """Write and run int8 with some more float layers."""
        self._written(name, self._int8.file(float_layers))
        self._run(name)
        return {}

    def layers(self) -> dict[str, Any]:
        """Return the operators that are int8 in the variant int8 and can be float."""
        operators = [layer for layer in quantize.layers(self._int8.clipped.file) if layer.tensor not in self._int8.floats]
        return {"layers": [{"tensor": operator.tensor, "operator": operator.name} for operator in operators]}

    def losses(self, groups: Sequence[Sequence[str]]) -> dict[str, Any]:
        """Return the loss of each group of layers, given by their tensors."""
        return {"losses": [self._int8.sensitivity.loss(group) for group in groups]}

    @cached_property
    def _int8(self) -> Int8:
        self._at("int8 converting")
        signatures = self._setup.signatures
        calibrated = quantize.calibrate(
            self._work / "saved_model", signatures, self._samples, select_tf_ops=self._setup.select_tf_ops
        )
        return Int8(calibrated, signatures, self._calls, self._work / "sensitivity.tflite", self._setup.pixels)

    @cached_property
    def _int4(self) -> Int4:
        self._at("int4 converting")
        setup, samples = self._setup, self._work / "samples" / SERVING_DEFAULT
        calls = exchange.load_calls(samples if samples.exists() else self._work / "draws" / SERVING_DEFAULT)
        file = convert(
            self._work / "saved_model", "float32", signatures=setup.signatures, select_tf_ops=setup.select_tf_ops
        )
        used = tuple(islice(calls, CALLS))
        return Int4(file, used, self._work / "sensitivity.tflite", calibrated=samples.exists())

    def _calls(self, signature: str) -> Iterator[dict[str, Array]]:
        return exchange.load_calls(self._work / "samples" / signature)

    def _converted(self, variant: Any, float_layers: Collection[str]) -> bytes:
        own_scales = self._has_own_scales(variant)
        if variant in INT8 and not own_scales:
            int8 = self._int8
            self._at(f"{variant} converting")
            if variant in PLACED:
                return int8.file(float_layers)
            return quantize.quantize(int8.clipped.file, io_type=self._setup.io_type if variant == "int8-io" else "float32")
        self._at(f"{variant} converting")
        if variant == "int4":
            return self._int4.file()
        setup = self._setup
        return convert(
            self._work / "saved_model", "int8" if own_scales else variant, self._samples,
            signatures=setup.signatures, select_tf_ops=setup.select_tf_ops, per_tensor_dense=setup.per_tensor_dense,
        )  # fmt: skip

    def _samples(self) -> Iterator[Any]:
        """Yield samples as the converter takes them: with their signature only if there are several signatures."""
        several = len(self._setup.signatures) > 1
        for signature in self._setup.signatures:
            for call in self._calls(signature):
                yield (signature, call) if several else call

    def _written(self, name: str, file: bytes) -> Path:
        path = self._work / f"{name}.tflite"
        path.write_bytes(file)
        return path

    def _run(self, name: str) -> None:
        self._at(f"{name} running")
        types = self._setup.output_dtypes
        for signature in self._setup.signatures:
            model = TfliteModel(self._work / f"{name}.tflite", signature=signature)
            calls = exchange.load_calls(self._work / "draws" / signature)
            exchange.save_calls(self._work / f"{name}.outputs" / signature, (model.run_in_floats(call, types) for call in calls))

    def _located(self, path: Path, exc: TfliteError) -> TfliteError:
        """Return the error with the layer of the operator that LiteRT has no kernel for in this form or for these types."""
        match = _FAILED.search(exc.what)
        if not match:
            return exc
        number = int(match[1])
        operators = contents.operators(path)
        operator = operators[number] if number < len(operators) and operators[number].name == match[2] else None
        types = f" of {', '.join(dict.fromkeys(operator.inputs))}" if operator else ""
        where = f" in {operator.tensor.partition('/')[0]}" if operator else ""
        return TfliteError(
            f"LiteRT cannot compute {match[2]}{types}{where} of the {path.stem} file: {exc.what}",
            fix=f"leave {path.stem} out of --tflite, or use a variant in which it stays float: float16, dynamic, mix",
            code="TFB4205",
        )

    def _at(self, step: str) -> None:
        (self._work / f"{self._name}.at").write_text(step, "utf-8")


if __name__ == "__main__":
    leave_keras_out()
    import tensorflow  # noqa: F401  (takes seconds, in which the parent still works)

    answer_requests(Worker(Path(sys.argv[1]), sys.argv[2]).answer)
