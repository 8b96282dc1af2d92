"""Real digits: int8 and int16x8 keep the accuracy; a file that does not is rejected, and a mix passes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bundler.converters.native import NativeConverter
from bundler.demo import digits as demo
from bundler.errors import GateError
from bundler.export.stage import export
from bundler.sources.module import from_module
from bundler.spec.bundle_spec import ModelSpec, TfliteSpec
from bundler.tflite import Outcome, builder, make_variants
from bundler.values.signature import TensorSpec
from tests.bundler.tflite import digits_models

HERE = digits_models.__name__
CALIBRATION = "bundler.demo.digits:calibration"
ACCURACY = "bundler.demo.digits:accuracy"


def build_outcome(model: nn.Module, size: int, folder: Path, **spec: Any) -> Outcome:
    text = f"image=float32[batch,1,{size},{size}]"
    example = {"image": torch.zeros(2, 1, size, size)}
    loaded = from_module(model, examples=example, inputs=(TensorSpec.parse(text),), provenance={"source": "test"})
    (exported,) = export(loaded, ModelSpec(name="digits", source="test.py:digits"), folder)
    converted = NativeConverter().convert({exported.name: exported.onnx})
    outcome = make_variants(converted, exported, TfliteSpec(**spec), folder, "digits")
    assert sorted(p.name for p in folder.glob("*.tflite")) == sorted(v.path.name for v in outcome.variants)
    return outcome


def metrics(outcome: Outcome) -> dict[str, float]:
    return {v.variant: v.evaluation["value"] for v in outcome.variants}


def assert_accuracy_is_kept(outcome: Outcome) -> None:
    reference = outcome.variants[0].evaluation["pytorch"]
    assert reference > 0.97
    values = metrics(outcome)
    assert values["float32"] == reference
    for variant, share in (("int8", 0.99), ("int8-io", 0.99), ("int16x8", 0.995)):
        assert values[variant] >= share * reference, values


VARIANTS = ("float32", "float16", "dynamic", "int8", "int8-io", "int16x8")


@pytest.mark.slow
def test_the_demo_network_keeps_its_accuracy(tmp_path: Path) -> None:
    model, _ = demo.train()
    outcome = build_outcome(model, 8, tmp_path, variants=VARIANTS, calibration=CALIBRATION, evaluate=ACCURACY)
    assert not outcome.rejected
    assert_accuracy_is_kept(outcome)


@pytest.mark.slow
def test_a_deeper_network_of_batchnorm_depthwise_and_hardswish_keeps_its_accuracy(tmp_path: Path) -> None:
    outcome = build_outcome(
        digits_models.deeper(), digits_models.LARGE, tmp_path, variants=VARIANTS,
        calibration=f"{HERE}:calibration_large", evaluate=f"{HERE}:accuracy_large",
    )  # fmt: skip
    assert not outcome.rejected
    assert_accuracy_is_kept(outcome)
    (int8,) = (result for result in outcome.variants if result.variant == "int8")
    assert int8.operators["DEPTHWISE_CONV_2D"] == 4
    assert not int8.float_operators


@pytest.fixture(scope="module")
def outlier_outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Build the network that int8 cannot represent, with --auto-mix."""
    return build_outcome(
        digits_models.with_outlier(), 8, tmp_path_factory.mktemp("outlier"), variants=("float32", "int8", "int8-io"),
        calibration=CALIBRATION, evaluate=ACCURACY, auto_mix=True,
    )  # fmt: skip


def test_a_file_below_its_gate_is_rejected_and_its_layers_are_named(outlier_outcome: Outcome) -> None:
    assert [rejected.variant for rejected in outlier_outcome.rejected] == ["int8", "int8-io"]
    for rejected in outlier_outcome.rejected:
        assert rejected.below_gate
        assert rejected.error.what.startswith(f"The {rejected.variant} TFLite file is below its gate: {ACCURACY} is 0.")
        worst, second, third = rejected.losses[:3]
        assert {str(worst.layer), str(second.layer)} == {"features.0 (CONV_2D)", "features.3 (CONV_2D)"}
        assert second.sqnr_db < 5 < 30 < third.sqnr_db
    data = outlier_outcome.rejected[0].to_json()
    assert data["below_gate"]
    assert data["evaluation"]["value"] < 0.5 < data["evaluation"]["floor"]
    assert data["mix"] == ["features.0 (CONV_2D)", "features.3 (CONV_2D)"]
    error = outlier_outcome.joined_error()
    assert isinstance(error, GateError)
    assert error.exit_code == 3
    assert str(error).count("features.0 (CONV_2D)") == 2  # among the losses and in the mix, once for both variants
    assert "use this build's mix file, which has these layers in float" in str(error)
    assert "--auto-mix" not in str(error)


@pytest.mark.slow
def test_no_mix_is_searched_for_with_a_slow_evaluate_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "PATIENCE_S", 0.0)
    spec = {"variants": ("int8",), "calibration": CALIBRATION, "evaluate": ACCURACY}
    (rejected,) = build_outcome(digits_models.with_outlier(), 8, tmp_path, **spec).rejected
    assert rejected.losses
    assert rejected.mix is None
    assert "no mix was searched for" in rejected.explain_layers()
    assert rejected.advice == "add --auto-mix to search for the mix with the fewest float layers"


def test_auto_mix_finds_the_two_layers(outlier_outcome: Outcome) -> None:
    float32, mix = outlier_outcome.variants
    assert mix.variant == "mix"
    assert mix.float_layers == ("features.0 (CONV_2D)", "features.3 (CONV_2D)")
    assert mix.float_operators == {"CONV_2D": 2}
    assert mix.operators["CONV_2D"] == 3
    assert metrics(outlier_outcome)["mix"] >= metrics(outlier_outcome)["float32"] - 0.01
    assert mix.size_bytes < float32.size_bytes / 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"min_sqnr": 20}, r"output logits: its SQNR against PyTorch is -?\d\.\d dB, and min_sqnr requires 20"),
        pytest.param(
            {"min_sqnr": -10, "min_top1": 0.9}, r"output logits: \d+\.\d% of the top-1 answers .*min_top1 requires 90\.0%",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_without_labels_agreement_with_pytorch_is_the_gate(tmp_path: Path, limits: Mapping[str, float], message: str) -> None:
    model = digits_models.with_outlier()
    outcome = build_outcome(model, 8, tmp_path, variants=("int8", "mix"), calibration=CALIBRATION, **limits)
    (rejected,) = outcome.rejected
    with pytest.raises(GateError, match=message):
        raise rejected.error
    (mix,) = outcome.variants  # without float_layers, the layers are searched for
    assert mix.float_layers == ("features.0 (CONV_2D)", "features.3 (CONV_2D)")


@pytest.mark.slow
def test_named_layers_stay_float_and_a_name_without_a_match_is_an_error(tmp_path: Path) -> None:
    model, _ = demo.train()
    spec = {"variants": ("int8", "mix"), "calibration": CALIBRATION}
    outcome = build_outcome(model, 8, tmp_path, **spec, float_layers=("features", "*_linear"))
    assert outcome.variants[1].float_operators == {"CONV_2D": 3, "MAX_POOL_2D": 2, "FULLY_CONNECTED": 1, "RESHAPE": 1}
    (tmp_path / "again").mkdir()
    outcome = build_outcome(model, 8, tmp_path / "again", **spec, float_layers=("stem",))
    assert [result.variant for result in outcome.variants] == ["int8"]
    assert "No layer of the TFLite file matches 'stem'" in str(outcome.rejected[0].error)
    assert "features.0" in str(outcome.rejected[0].error)
