"""The forms of a model that bundles hold, their accuracy gate, and the commands that build the others."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundler.errors import UsageError
from bundler.operations import forms
from bundler.operations.forms import GoldenJudge, build_command, find_forms, judge_of
from bundler.spec.bundle_spec import ModelSpec, TfliteSpec
from bundler.validation.bundle import Bundle
from serving.advise.forms import Form
from serving.golden.data import Golden, GoldenCase

FLOAT32 = Form("SavedModel", "float32", Path("dist"))
MIXED = replace(FLOAT32, mixed_precision=True)
X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def bfloat16_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "bfloat16_instructions", lambda: ("AVX-512 BF16",))


def opened(*paths: Path) -> dict[Path, Bundle]:
    return {path: Bundle.open(path) for path in paths}


def with_record(folder: Path, bundle: Path, **changes: Any) -> dict[Path, Bundle]:
    """Return the bundle with another record of its version."""
    copy = Bundle.open(shutil.copytree(bundle, folder))
    copy.manifest.models["mlp"][1].update(changes)
    return {folder: copy}


def test_a_bundle_without_other_forms_says_how_they_are_built(small_bundle: Path, bfloat16_cpu: None) -> None:
    found = find_forms(opened(small_bundle), "mlp")
    assert [str(form) for form in found.forms] == [
        "SavedModel float32", "SavedModel float32 with --mixed_precision=bfloat16"
    ]  # fmt: skip
    folder = small_bundle / "models/mlp/1"
    files = [folder / "saved_model.pb", *(folder / "variables").iterdir(), *(folder / "assets").iterdir()]
    assert found.forms[0].size_bytes == sum(file.stat().st_size for file in files)
    lower, fast = found.absent
    assert lower.startswith("SavedModel bfloat16: not built. Run `tfbundle build ")
    assert f"--precision bfloat16 --tflite float32 -o {small_bundle}-bfloat16`" in lower
    assert "--name mlp --fast-path --tflite float32 -o " in fast
    assert f"-o {small_bundle}-fast-path`, and measure both: --bundle {small_bundle} --bundle" in fast


def test_a_host_without_the_instructions_does_not_try_the_flag(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "bfloat16_instructions", lambda: ())
    found = find_forms(opened(small_bundle), "mlp")
    assert [form.mixed_precision for form in found.forms] == [False]
    assert found.absent[0] == "SavedModel with --mixed_precision=bfloat16: this CPU has no instructions for bfloat16."
    assert not any("SavedModel bfloat16" in sentence for sentence in found.absent)


def test_the_builds_verdict_on_the_flag_counts(small_bundle: Path, tmp_path: Path, bfloat16_cpu: None) -> None:
    judged = {"dtype": "bfloat16", "passed": False, "below_gate": True, "reason": "accuracy is 0.5"}
    found = find_forms(with_record(tmp_path / "b", small_bundle, mixed_precision=judged), "mlp")
    assert [form.mixed_precision for form in found.forms] == [False]
    assert found.absent[0] == "SavedModel with --mixed_precision=bfloat16: accuracy is 0.5"


def test_an_adopted_version_is_measured_without_a_gate(small_bundle: Path, tmp_path: Path, bfloat16_cpu: None) -> None:
    adopted = with_record(tmp_path / "adopted", small_bundle, adopted={"from": "x"})
    found = find_forms(adopted, "mlp")
    assert [str(form) for form in found.forms] == ["SavedModel float32"]
    (reason,) = found.absent
    assert reason.endswith("its version was adopted, so there are no golden data to judge its answers by.")
    accuracy = judge_of(adopted[tmp_path / "adopted"], "mlp")(FLOAT32, "localhost:1")
    assert (str(accuracy), accuracy.to_json()) == ("", {})


def test_several_bundles_are_told_apart_and_must_agree(small_bundle: Path, tmp_path: Path, bfloat16_cpu: None) -> None:
    other = with_record(tmp_path / "lower", small_bundle, precision={"dtype": "bfloat16", "passed": True})
    found = find_forms(opened(small_bundle) | other, "mlp")
    names = [str(form) for form in found.forms if not form.mixed_precision]
    assert names == [f"{small_bundle.name}: SavedModel float32", "lower: SavedModel bfloat16"]
    assert found.forms[-1].source == tmp_path / "lower"
    record = Bundle.open(small_bundle).record("mlp")["signatures"]
    renamed = with_record(tmp_path / "renamed", small_bundle, signatures={"other": record["serving_default"]})
    with pytest.raises(UsageError, match=r"other signatures in .*renamed than in"):
        find_forms(opened(small_bundle) | renamed, "mlp")


def test_the_command_has_every_option_of_the_model() -> None:
    spec = ModelSpec(
        name="m", source="m.py:make", inputs=("x=float32[batch,4]", "y=int64[batch]"), fast_path=True, pretrained=False,
        tflite=TfliteSpec(variants=("float16", "int8"), min_sqnr=20),
    )  # fmt: skip
    assert build_command(spec) == (
        "tfbundle", "build", "m.py:make", "--name", "m", "--no-pretrained", "--input", "x=float32[batch,4]",
        "--input", "y=int64[batch]", "--fast-path", "--tflite", "float16,int8", "--min-sqnr", "20.0",
    )  # fmt: skip
    assert build_command(spec.model_copy(update={"tflite": TfliteSpec(dims={"seq": 4})})) is None


class Answers:
    """A client whose server answers with chosen outputs."""

    def __init__(self, outputs: Mapping[str, np.ndarray]) -> None:
        self.outputs = outputs

    def __call__(self, *_: object, **__: object) -> Answers:
        return self

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, *_: object) -> None: ...

    def predict(self, *_: object, **__: object) -> Mapping[str, np.ndarray]:
        return self.outputs


@pytest.mark.parametrize(
    ("form", "error", "problem"),
    [
        (FLOAT32, 1e-6, ""),
        (FLOAT32, 1e-2, "its answers differ from PyTorch's: output 'y'"),
        (MIXED, 1e-2, ""),
        (MIXED, 0.5, "below its gate: output y: its SQNR against PyTorch is"),
        (MIXED, np.nan, "below its gate: output 'y': "),
    ],
)
def test_the_gate_of_the_build_judges_the_answers(
    form: Form, error: float, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = Golden("m", 1e-4, (GoldenCase("serving_default", "example", {"x": X}, {"y": X}),))
    monkeypatch.setattr(forms, "Client", Answers({"y": X + np.float32(error) * np.resize([1, -1], X.shape).astype(np.float32)}))
    accuracy = GoldenJudge(golden, TfliteSpec())(form, "localhost:1")
    assert accuracy.problem.startswith(problem) and bool(accuracy.problem) == bool(problem)
    if error == 1e-2:
        assert accuracy.sqnr_db is not None and 30 < accuracy.sqnr_db < 45 and "dB" in str(accuracy)


def test_a_tflite_file_is_asked_for_its_only_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = (GoldenCase("serving_default", "a", {"x": X}, {"y": X}), GoldenCase("other", "a", {"x": X}, {"y": 2 * X}))
    monkeypatch.setattr(forms, "Client", Answers({"y": X}))
    judge = GoldenJudge(Golden("m", 1e-4, cases), TfliteSpec())
    assert judge(replace(FLOAT32, artifact="model.tflite"), "localhost:1").problem == ""
    assert "differ" in judge(FLOAT32, "localhost:1").problem
