"""Small ONNX models as .tflite files, made without a full build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from bundler.graph.onnx_runtime import EXACT_INTEGERS
from bundler.spec.bundle_spec import TfliteVariant
from bundler.tflite.contents import count, operators
from bundler.tflite.delegation import Delegation, delegation
from bundler.tflite.runner import TfliteModel
from bundler.tflite.variants import convert, write_static
from bundler.values.arrays import Array
from tests.bundler.converters.native.oracle import native


class Lowered:
    """One variant of a model, lowered for the shapes of the inputs."""

    def __init__(
        self, model: onnx.ModelProto, inputs: Mapping[str, Array], folder: Path, variant: TfliteVariant = "float32"
    ) -> None:
        self.inputs = dict(inputs)
        self.want = _reference(model, self.inputs)
        converted = native(model)
        function = converted.static({name: array.shape for name, array in inputs.items()})
        write_static(function, converted.signature.input_names, folder / "saved_model")
        self.path = folder / f"{variant}.tflite"
        self.path.write_bytes(convert(folder / "saved_model", variant, self._samples))

    def _samples(self) -> Iterator[dict[str, Array]]:
        yield self.inputs

    @property
    def operators(self) -> dict[str, int]:
        return count(operators(self.path))

    @property
    def delegation(self) -> Delegation:
        return delegation(self.path)

    def assert_answers(self, *, atol: float = 1e-5, rtol: float = 1e-4, calls: int = 2) -> None:
        """Assert that the file's outputs equal ONNX Runtime's, in every call."""
        model = TfliteModel(self.path)
        for _ in range(calls):
            got = model(self.inputs)
            assert got.keys() == self.want.keys()
            for name, want in self.want.items():
                assert (got[name].dtype, got[name].shape) == (want.dtype, want.shape), name
                np.testing.assert_allclose(got[name], want, rtol=rtol, atol=atol, err_msg=name)


def _reference(model: onnx.ModelProto, inputs: dict[str, Array]) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(*EXACT_INTEGERS)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))
