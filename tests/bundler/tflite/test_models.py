"""The eight real models as TFLite files: only builtin operators, of which XNNPACK runs all but those listed here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
import pytest

import bundler
from bundler.spec.bundle_spec import TfliteVariant
from bundler.tflite.contents import count, operators
from bundler.tflite.delegation import delegation
from bundler.tflite.runner import TfliteModel
from bundler.tflite.variants import convert, write_static
from tests.bundler.exporting import export_module
from tests.models import MODELS

pytestmark = pytest.mark.slow

LEFT: dict[str, set[str]] = {
    "resnet18": set(),
    "mobilenetv3_small_100": set(),
    "efficientnet_b0": set(),
    "convnext_atto": set(),
    "vit_tiny_patch16_224": set(),
    "bert": {"ADD", "CAST", "GATHER", "GATHER_ND", "GREATER", "LESS", "LOGICAL_AND", "SELECT", "SELECT_V2"},
    "bilstm": {"PACK", "REVERSE_V2", "UNIDIRECTIONAL_SEQUENCE_LSTM", "ZEROS_LIKE"},
    "unet": set(),
}
"""Operators of the float32 file that XNNPACK does not run: integers of BERT's ids and mask, and recurrence."""

BASIC: tuple[Any, ...] = tuple(v for v in get_args(TfliteVariant) if v in ("float32", "float16", "dynamic", "int8"))


@pytest.mark.parametrize("name", LEFT)
def test_all_variants_have_only_builtin_operators_and_xnnpack_runs_float32(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    (exported,) = export_module(model.module, tmp_path, dict(model.inputs), model.specs)
    inputs = {key: value[:1].numpy() for key, value in model.inputs.items()}
    converted = bundler.convert(exported.onnx)
    function = converted.static({key: array.shape for key, array in inputs.items()})
    write_static(function, converted.signature.input_names, tmp_path / "saved_model")

    def samples() -> Iterator[dict[str, Any]]:
        yield inputs

    assert len(BASIC) == 4
    for variant in BASIC:
        path = tmp_path / f"{variant}.tflite"
        path.write_bytes(convert(tmp_path / "saved_model", variant, samples))
        assert not [o for o in count(operators(path)) if o.startswith("Flex")]
    float32 = tmp_path / "float32.tflite"
    assert set(delegation(float32).left) == LEFT[name]
    session = onnxruntime.InferenceSession(exported.onnx, providers=["CPUExecutionProvider"])
    outputs = TfliteModel(float32)(inputs)
    for output, want in zip(session.get_outputs(), session.run(None, inputs), strict=True):
        assert outputs[output.name].shape == want.shape
        np.testing.assert_allclose(outputs[output.name], want, atol=1e-4 * np.abs(want).max(), rtol=0)
