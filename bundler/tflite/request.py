"""Checks a TFLite request before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.errors import UsageError
from bundler.graph.quantized_source import comes_quantized
from bundler.spec.bundle_spec import CALIBRATED, OWN_SCALES
from bundler.tflite import calibration, user_function
from bundler.tflite.runtimes import parse_target

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import TfliteSpec, TfliteVariant


def check_request(spec: TfliteSpec, base: Path = Path(), source: str = "") -> None:
    """Raise the first error of `request_checks`."""
    for _, check in request_checks(spec, base, source):
        check()


def request_checks(spec: TfliteSpec, base: Path = Path(), source: str = "") -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield checks that raise an error if a request cannot succeed, each with the key of the section that it is about.

    The checks raise a UsageError if a variant needs calibration data and there is none, or only random data without permission,
    if variants and shapes conflict, or if the target runtime is not known; and a SourceError if the file of the calibration or
    evaluate function does not exist.

    Args:
        spec: the model's `tflite` section.
        base: folder that relative paths start from.
        source: the model's source. If the model is already quantized, its int8 file needs no calibration data.
    """
    yield "variants", lambda: check_variants(spec.wanted, spec, base, source)
    if spec.target_runtime:
        target = spec.target_runtime
        yield "target_runtime", lambda: parse_target(target)
    if spec.calibration:
        yield "calibration", lambda: calibration.check_source(spec, base)
    if spec.evaluate:
        evaluate = spec.evaluate
        yield "evaluate", lambda: user_function.check(evaluate, base, what="evaluate")


def check_variants(variants: Sequence[TfliteVariant], spec: TfliteSpec, base: Path, source: str) -> None:
    """Raise a UsageError if one of these variants lacks calibration data, or shapes conflict with it.

    Args:
        variants: names of variants.
        spec: the model's `tflite` section.
        base: folder that relative paths start from.
        source: the model's source.
    """
    needing = [variant for variant in variants if variant in CALIBRATED]
    if not spec.calibration and comes_quantized(source, base):
        needing = [variant for variant in needing if variant not in OWN_SCALES]
    if needing and not spec.calibration:
        raise UsageError(
            f"The {needing[0]} TFLite variant needs calibration data: representative samples of the model's inputs.",
            fix="set --calibration to an .npz (one array per input), a folder of .npz files or images, or file.py:function",
            code="TFB4001",
        )
    if "int16x8" in variants and spec.shapes:
        raise UsageError(
            "int16x8 cannot be combined with tflite.shapes: TensorFlow quantizes only one signature of such a file.",
            fix="build int16x8 as a separate model, without tflite.shapes",
            code="TFB4005",
        )
