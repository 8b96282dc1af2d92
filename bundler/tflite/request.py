"""What is asked for, checked before any work is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bundler.errors import UsageError
from bundler.graph.quantized_source import comes_quantized
from bundler.spec.bundle_spec import CALIBRATED
from bundler.tflite import calibration, user_function

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import TfliteSpec


def check_request(spec: TfliteSpec, base: Path = Path(), source: str = "") -> None:
    """Refuse a request that cannot end well, before any work is done.

    Args:
        base: what relative paths are relative to.
        source: of the model; the int8 file of one that is quantized already needs no calibration data.

    Raises:
        UsageError: a variant needs calibration data and there is none, or only noise that nobody insisted on; or
            variants and shapes contradict each other.
        SourceError: a file of calibration data or of the evaluate function is not there.
    """
    needing = [variant for variant in spec.wanted if variant in CALIBRATED]
    if "int8" in needing and not spec.calibration and comes_quantized(source, base):
        needing.remove("int8")
    if needing and not spec.calibration:
        raise UsageError(
            f"The {needing[0]} TFLite variant needs calibration data: samples of what the model will see.",
            fix="give --calibration an .npz (an array an input), a folder of .npz or images, or file.py:name",
        )
    if "int16x8" in spec.wanted and spec.shapes:
        raise UsageError(
            "int16x8 and tflite.shapes do not go together: TensorFlow quantizes one signature of such a file alone.",
            fix="build int16x8 as a model of its own, without further shapes",
        )
    if spec.calibration:
        calibration.check_source(spec, base)
    if spec.evaluate:
        user_function.check(spec.evaluate, base, what="evaluate")
