"""ONNX models with dynamic sizes as .tflite files, run as TensorFlow Serving runs them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from bundler.tflite.contents import count, operators
from bundler.tflite.deferral import defer_preparation
from bundler.tflite.delegation import Delegation, delegation
from bundler.tflite.variants import convert, write_static
from bundler.values.arrays import Array
from serving.server.servables.interpreters import Interpreter
from tests.bundler.converters.native.oracle import native


class Resized:
    """A model lowered with its dynamic sizes, in one interpreter that is resized for each call."""

    def __init__(self, model: onnx.ModelProto, folder: Path) -> None:
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        converted = native(model)
        inputs = converted.signature.inputs
        function = converted.static({spec.name: spec.shape for spec in inputs})
        write_static(function, converted.signature.input_names, folder / "saved")
        self.path = folder / "model.tflite"
        content = convert(folder / "saved", "float32")
        self.path.write_bytes(defer_preparation(content) if len(inputs) > 1 else content)
        self._interpreter = Interpreter(self.path.read_bytes(), 1)
        self._indices = _indices(self.path)

    @property
    def operators(self) -> dict[str, int]:
        return count(operators(self.path))

    @property
    def delegation(self) -> Delegation:
        return delegation(self.path)

    def assert_answers(self, inputs: Mapping[str, Array], *, atol: float = 1e-5, rtol: float = 1e-4) -> None:
        """Assert that the file's outputs equal ONNX Runtime's for these inputs, in two calls."""
        names = [output.name for output in self._session.get_outputs()]
        want = self._session.run(None, dict(inputs))
        ins, outs = self._indices
        for _ in range(2):
            got = self._interpreter.run({ins[name]: array for name, array in inputs.items()}, [outs[name] for name in names])
            for name, expected, actual in zip(names, want, got, strict=True):
                assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), name
                np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, err_msg=name)


def _indices(path: Path) -> tuple[dict[str, int], dict[str, int]]:
    from ai_edge_litert.interpreter import Interpreter as LiteRt

    runner = LiteRt(model_path=str(path)).get_signature_runner()
    sides = (runner.get_input_details(), runner.get_output_details())
    ins, outs = ({name: int(detail["index"]) for name, detail in side.items()} for side in sides)
    return ins, outs
