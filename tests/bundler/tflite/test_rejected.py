"""Messages about rejected variants."""

from __future__ import annotations

from bundler.errors import GateError, TfliteError
from bundler.tflite.layers import Layer
from bundler.tflite.mix import Loss
from bundler.tflite.rejected import Outcome, RejectedVariant, gate_error, variants_error

CONV = Layer(("conv/Conv2D",), "CONV_2D", ("conv",), ("features.0",))
BELOW = RejectedVariant("int8", gate_error("int8", "accuracy is 0.5"), losses=[Loss(CONV, 0.1)], mix=[CONV])
BROKEN = RejectedVariant("float16", TfliteError("No kernel.", fix="use float32"))


def test_a_single_error_is_raised_unchanged() -> None:
    assert Outcome(rejected=(BROKEN,)).joined_error() is BROKEN.error


def test_errors_of_several_variants_are_joined_with_reasons_layers_and_advice() -> None:
    error = Outcome.of([BELOW, BROKEN]).joined_error()
    assert isinstance(error, GateError)
    assert error.what.splitlines() == [
        "2 TFLite variants failed.",
        "The int8 TFLite file is below its gate: accuracy is 0.5.",
        "No kernel.",
        "  layers with the largest loss, each measured as the only int8 layer (SQNR of the outputs):",
        "      10.0 dB  features.0 (CONV_2D)",
        "  a mix passes with these layers in float: features.0 (CONV_2D)",
    ]
    assert error.fix == "add --auto-mix to make that mix; use float32"


def test_the_error_for_a_published_bundle_names_the_missing_variants_of_each_model() -> None:
    bundle = object()
    error = variants_error({"digits": [BELOW, BROKEN], "complete": [], "nets": [BROKEN]}, bundle)
    assert error.bundle is bundle
    assert error.exit_code == 3
    assert error.what.startswith("Published without these TFLite variants: digits: int8, float16; nets: float16.\n")
    assert error.what.count("No kernel.") == 1
