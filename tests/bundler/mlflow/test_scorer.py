"""Predictions by MLflow: the answers of the servables, in every form of input, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bundler.mlflow
from bundler.errors import UnsafeModelError, UsageError, VerifyError
from bundler.mlflow import scorer
from bundler.validation.bundle import Bundle
from serving.golden.data import Golden
from serving.protocol.status import Code, RefusedModelError
from serving.protocol.unsafe_ops import UnsafeUse
from tests.requirements import require_package

ROWS = np.arange(8, dtype=np.float32).reshape(2, 4) / 8


@pytest.fixture
def saved(grown: Bundle, mlflow: Any, tmp_path: Path) -> Path:
    bundler.mlflow.save_model(grown, tmp_path / "saved")
    return tmp_path / "saved"


def test_answers_are_those_of_the_golden_data_in_every_form(saved: Path, grown: Bundle, mlflow: Any) -> None:
    model = mlflow.pyfunc.load_model(str(saved))
    for case in Golden.load(grown.layout.golden_file("mlp", 2)).cases:
        answer = model.predict(case.inputs)
        assert list(answer) == ["y"] and answer["y"].dtype == np.float32
        np.testing.assert_allclose(answer["y"], case.outputs["y"], rtol=1e-4, atol=1e-6)
    want = model.predict(ROWS)["y"]
    for form in ("fast_path", "float32"):
        rows = [model.predict(ROWS[n : n + 1], params={"form": form})["y"] for n in range(2)]
        np.testing.assert_allclose(np.concatenate(rows), want, rtol=1e-5)
    np.testing.assert_array_equal(model.predict(ROWS, params={"version": "stable"})["y"], want)
    frame = require_package("pandas", "pip install pandas").DataFrame({"x": list(ROWS)})
    np.testing.assert_array_equal(model.predict(frame)["y"], want)


def test_settings_of_the_loader_stay_unless_a_call_changes_them(saved: Path, mlflow: Any) -> None:
    model = mlflow.pyfunc.load_model(str(saved), model_config={"form": "float32", "version": "1"})
    assert model.predict(ROWS[:1])["y"].shape == (1, 3)
    refused = r"TFB4205: The file takes x=float32\[1,4\], but got x=float32\[2,4\]"
    with pytest.raises(mlflow.exceptions.MlflowException, match=refused):
        model.predict(ROWS)
    assert model.predict(ROWS, params={"form": "saved_model"})["y"].shape == (2, 3)


def test_scoring_server_passes_the_message_on(saved: Path, mlflow: Any) -> None:
    from mlflow.pyfunc.scoring_server import CONTENT_TYPE_JSON, invocations

    model = mlflow.pyfunc.load_model(str(saved))
    schema = model.metadata.get_input_schema()

    def call(**body: Any) -> Any:
        answer = invocations(json.dumps(body), CONTENT_TYPE_JSON, model, schema)
        return json.loads(answer.response)["predictions"]["y"]

    want = model.predict(ROWS)["y"]
    np.testing.assert_allclose(call(inputs={"x": ROWS.tolist()}), want, rtol=1e-6)
    np.testing.assert_allclose(call(instances=[{"x": row} for row in ROWS.tolist()]), want, rtol=1e-6)
    split = {"columns": ["x"], "data": [[row] for row in ROWS.tolist()]}
    np.testing.assert_allclose(call(dataframe_split=split, params={"version": "1"}), want, rtol=1e-6)
    with pytest.raises(mlflow.exceptions.MlflowException, match=r"TFB1006: .* no version or label 'canary'") as raised:
        call(inputs={"x": ROWS.tolist()}, params={"version": "canary"})
    assert raised.value.get_http_status_code() == 400
    example = json.loads((saved / "serving_input_example.json").read_text())
    assert np.shape(call(**example)) == (1, 3)


def test_inputs_are_checked_by_mlflow_or_else_by_us(grown: Bundle, saved: Path, mlflow: Any, tmp_path: Path) -> None:
    refused = mlflow.exceptions.MlflowException
    strict = mlflow.pyfunc.load_model(str(saved))
    with pytest.raises(refused, match="float64 does not match expected dtype float32"):
        strict.predict(ROWS.astype(np.float64))
    bundler.mlflow.save_model(grown, tmp_path / "open", signature=False)
    loose = mlflow.pyfunc.load_model(str(tmp_path / "open"))
    np.testing.assert_array_equal(loose.predict(ROWS.tolist())["y"], strict.predict(ROWS)["y"])
    for wrong, message in (
        (ROWS.astype(np.float64), "TFB9405: The input 'x' is float64"),
        ({"z": ROWS}, "TFB9405: The call has the inputs 'z'"),
        (ROWS[:, :3], "INVALID_ARGUMENT: "),
    ):
        with pytest.raises(refused, match=message) as raised:
            loose.predict(wrong)
        assert raised.value.error_code == "INVALID_PARAMETER_VALUE"


def test_settings_that_the_bundle_lacks_are_refused_at_once(saved: Path, mlflow: Any) -> None:
    for settings, error in (({"form": "int8"}, UsageError), ({"version": "canary"}, UsageError), ({"version": "9"}, VerifyError)):
        with pytest.raises(error) as raised:
            mlflow.pyfunc.load_model(str(saved), model_config=settings)
        assert raised.value.code == "TFB1006"


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("saved_model", "models/mlp/2/saved_model.pb"),
        ("fast_path", "models/mlp/2/model.tflite"),
        ("float32", "tflite/mlp/2/mlp-float32.tflite"),
    ],
)
def test_changed_byte_is_not_run(saved: Path, mlflow: Any, form: str, name: str) -> None:
    file = saved / "data" / "small" / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(VerifyError, match=f"{name} is not the file that was") as raised:
        mlflow.pyfunc.load_model(str(saved), model_config={"form": form})
    assert raised.value.code == "TFB9402"


def test_other_versions_are_read_only_when_they_answer(saved: Path, mlflow: Any) -> None:
    file = saved / "data" / "small" / "models" / "mlp" / "1" / "saved_model.pb"
    file.write_bytes(b"")
    model = mlflow.pyfunc.load_model(str(saved))
    assert model.predict(ROWS)["y"].shape == (2, 3)
    with pytest.raises(mlflow.exceptions.MlflowException, match="TFB9402: The version cannot be run") as raised:
        model.predict(ROWS, params={"version": "1"})
    assert raised.value.error_code == "INTERNAL_ERROR"


def test_model_that_does_more_than_compute_is_not_run(saved: Path, mlflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, options: Any) -> Any:
        raise RefusedModelError(Code.PERMISSION_DENIED, "It reads files. To load it all the same, start the server with --x")

    monkeypatch.setattr("serving.server.servables.load.load_servable", refuse)
    monkeypatch.setattr("bundler.validation.unsafe.tflite_uses", lambda path: [UnsafeUse("op", "reads files")])
    for form in ("saved_model", "float32"):
        with pytest.raises(UnsafeModelError, match="reads files") as raised:
            mlflow.pyfunc.load_model(str(saved), model_config={"form": form})
        assert "start the server" not in str(raised.value)
        assert "allow_unsafe_ops" in (raised.value.fix or "")
    allowed = mlflow.pyfunc.load_model(str(saved), model_config={"form": "float32", "allow_unsafe_ops": True})
    assert allowed.predict(ROWS[:1])["y"].shape == (1, 3)


def test_whoever_logs_a_model_does_not_decide_what_is_safe(grown: Bundle, mlflow: Any, tmp_path: Path) -> None:
    bundler.mlflow.save_model(grown, tmp_path / "saved", allow_unsafe_ops=True, input_example=False)
    model = mlflow.models.Model.load(str(tmp_path / "saved"))
    assert model.flavors["python_function"]["config"]["allow_unsafe_ops"] is False


def test_servable_is_loaded_once(saved: Path, grown: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = scorer.load_scorer(str(saved / "data" / "small"), {})
    monkeypatch.setattr(scorer.BundleScorer, "_load", lambda self, choice: pytest.fail("loaded twice"))
    assert loaded.predict(ROWS)["y"].shape == (2, 3)


@pytest.mark.slow
def test_prediction_needs_no_torch(saved: Path) -> None:
    program = """
import sys
sys.modules["torch"] = sys.modules["onnx"] = sys.modules["onnxruntime"] = None
import numpy, mlflow.pyfunc
answer = mlflow.pyfunc.load_model(sys.argv[1]).predict(numpy.zeros((2, 4), "float32"))
assert answer["y"].shape == (2, 3)
assert not {"keras", "transformers"} & {name for name, module in sys.modules.items() if module}
print("answered")
"""
    done = subprocess.run([sys.executable, "-c", program, str(saved)], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "answered\n", done.stderr
