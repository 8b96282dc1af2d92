"""ONNX Runtime's exceptions become errors that say what cannot be loaded or run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from bundler.errors import ParityError
from bundler.graph.onnx_runtime import CannotLoadError, OnnxModel, onnx_values


def save(path: Path, body: str, imports: str = "") -> Path:
    text = f'<ir_version: 8, opset_import: ["" : 17{imports}]> g (float[2] x) => (float[2] y) {{ {body} }}'
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def test_every_intermediate_value_is_returned(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", "h = Neg(x)  y = Relu(h)")
    values = onnx_values(path, {"x": np.array([1, -2], np.float32)})
    assert {name: value.tolist() for name, value in values.items()} == {"y": [0, 2], "h": [-1, 2]}
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_operator_cannot_be_loaded(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", "y = mylib.Twice(x)", ', "mylib" : 1')
    with pytest.raises(CannotLoadError, match="no kernel for mylib:Twice"):
        OnnxModel(path)


def test_invalid_model_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="ONNX Runtime rejects the model") as caught:
        OnnxModel(save(tmp_path / "m.onnx", "y = Relu(gone)"))
    assert not isinstance(caught.value, CannotLoadError)


def test_failure_at_run_time_is_reported(tmp_path: Path) -> None:
    model = OnnxModel(save(tmp_path / "m.onnx", "y = Relu(x)"))
    with pytest.raises(ParityError, match="ONNX Runtime failed"):
        model({"x": np.zeros(3, np.float32)})
