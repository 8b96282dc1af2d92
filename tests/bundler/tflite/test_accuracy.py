"""Real digits: int8 and int16x8 keep the accuracy; a file that does not is refused, and a mix gets through."""

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
from bundler.tflite import Outcome, build, make_variants
from bundler.values.signature import TensorSpec
from tests.bundler.tflite import digits_models

HERE = digits_models.__name__
CALIBRATION = "bundler.demo.digits:calibration"
ACCURACY = "bundler.demo.digits:accuracy"


def outcome(model: nn.Module, size: int, folder: Path, **spec: Any) -> Outcome:
    text = f"image=float32[batch,1,{size},{size}]"
    example = {"image": torch.zeros(2, 1, size, size)}
    loaded = from_module(model, examples=example, inputs=(TensorSpec.parse(text),), provenance={"source": "test"})
    (one,) = export(loaded, ModelSpec(name="digits", source="test.py:digits"), folder)
    made = make_variants(NativeConverter().convert({one.name: one.onnx}), one, TfliteSpec(**spec), folder, "digits")
    assert sorted(p.name for p in folder.glob("*.tflite")) == sorted(v.path.name for v in made.made)
    return made


def metrics(made: Outcome) -> dict[str, float]:
    return {v.variant: v.evaluation["value"] for v in made.made}


def assert_limits(made: Outcome) -> None:
    reference = made.made[0].evaluation["pytorch"]
    assert reference > 0.97
    found = metrics(made)
    assert found["float32"] == reference
    for variant, share in (("int8", 0.99), ("int8-io", 0.99), ("int16x8", 0.995)):
        assert found[variant] >= share * reference, found


VARIANTS = ("float32", "float16", "dynamic", "int8", "int8-io", "int16x8")


def test_the_demos_digits_keep_their_accuracy(tmp_path: Path) -> None:
    model, _ = demo.train()
    made = outcome(model, 8, tmp_path, variants=VARIANTS, calibration=CALIBRATION, evaluate=ACCURACY)
    assert not made.refused
    assert_limits(made)


@pytest.mark.slow
def test_a_deeper_network_of_batchnorm_depthwise_and_hardswish_keeps_it_too(tmp_path: Path) -> None:
    made = outcome(
        digits_models.deeper(), digits_models.LARGE, tmp_path, variants=VARIANTS,
        calibration=f"{HERE}:calibration_large", evaluate=f"{HERE}:accuracy_large",
    )  # fmt: skip
    assert not made.refused
    assert_limits(made)
    (int8,) = (one for one in made.made if one.variant == "int8")
    assert int8.operators["DEPTHWISE_CONV_2D"] == 4
    assert not int8.float_operators


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The network that int8 cannot hold, with --auto-mix."""
    return outcome(
        digits_models.with_outlier(), 8, tmp_path_factory.mktemp("outlier"), variants=("float32", "int8", "int8-io"),
        calibration=CALIBRATION, evaluate=ACCURACY, auto_mix=True,
    )  # fmt: skip


def test_a_file_below_its_gate_is_refused_and_its_layers_are_named(refused: Outcome) -> None:
    assert [one.variant for one in refused.refused] == ["int8", "int8-io"]
    for one in refused.refused:
        assert one.below_gate
        assert one.error.what.startswith(f"The {one.variant} TFLite file is below its gate: {ACCURACY} is 0.")
        worst, second, third = one.losses[:3]
        assert {str(worst.layer), str(second.layer)} == {"features.0 (CONV_2D)", "features.3 (CONV_2D)"}
        assert second.sqnr_db < 5 < 30 < third.sqnr_db
    data = refused.refused[0].to_json()
    assert data["below_gate"]
    assert data["evaluation"]["value"] < 0.5 < data["evaluation"]["floor"]
    assert data["mix"] == ["features.0 (CONV_2D)", "features.3 (CONV_2D)"]
    error = refused.joined_error()
    assert isinstance(error, GateError)
    assert error.exit_code == 3
    assert str(error).count("features.0 (CONV_2D)") == 2  # among the losses and in the mix, once for both variants
    assert "the mix file of this build has them in float" in str(error)
    assert "--auto-mix makes that mix" not in str(error)


def test_a_slow_evaluate_function_is_not_asked_dozens_of_times_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "PATIENCE_S", 0.0)
    made = outcome(digits_models.with_outlier(), 8, tmp_path, variants=("int8",), calibration=CALIBRATION, evaluate=ACCURACY)
    (one,) = made.refused
    assert one.losses
    assert one.mix is None
    assert "a mix was not looked for" in one.explain_layers()
    assert one.advice == "--auto-mix looks for the mix with the fewest float layers"


def test_auto_mix_finds_the_two_layers(refused: Outcome) -> None:
    float32, mix = refused.made
    assert mix.variant == "mix"
    assert mix.float_layers == ("features.0 (CONV_2D)", "features.3 (CONV_2D)")
    assert mix.float_operators == {"CONV_2D": 2}
    assert mix.operators["CONV_2D"] == 3
    assert metrics(refused)["mix"] >= metrics(refused)["float32"] - 0.01
    assert mix.size_bytes < float32.size_bytes / 2


@pytest.mark.parametrize(
    ("floors", "said"),
    [
        ({"min_sqnr": 20}, r"output logits: SQNR -?\d\.\d dB against PyTorch, min_sqnr asks for 20"),
        pytest.param(
            {"min_sqnr": -10, "min_top1": 0.9}, r"output logits: \d+\.\d% of the top-1 answers .*min_top1 asks for 90\.0%",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_without_labels_agreement_with_pytorch_is_the_gate(tmp_path: Path, floors: Mapping[str, float], said: str) -> None:
    made = outcome(digits_models.with_outlier(), 8, tmp_path, variants=("int8", "mix"), calibration=CALIBRATION, **floors)
    (one,) = made.refused
    with pytest.raises(GateError, match=said):
        raise one.error
    (mix,) = made.made  # without names, the layers are found
    assert mix.float_layers == ("features.0 (CONV_2D)", "features.3 (CONV_2D)")


@pytest.mark.slow
def test_named_layers_stay_float_and_a_name_that_fits_none_is_told(tmp_path: Path) -> None:
    model, _ = demo.train()
    spec = {"variants": ("int8", "mix"), "calibration": CALIBRATION}
    made = outcome(model, 8, tmp_path, **spec, float_layers=("features", "*_linear"))
    assert made.made[1].float_operators == {"CONV_2D": 3, "MAX_POOL_2D": 2, "FULLY_CONNECTED": 1, "RESHAPE": 1}
    (tmp_path / "again").mkdir()
    made = outcome(model, 8, tmp_path / "again", **spec, float_layers=("stem",))
    assert [one.variant for one in made.made] == ["int8"]
    assert "No layer of the TFLite file matches 'stem'" in str(made.refused[0].error)
    assert "features.0" in str(made.refused[0].error)
