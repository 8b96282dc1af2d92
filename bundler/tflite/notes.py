"""Remarks on a variant for the user, which the summary and bundle.json show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bundler.tflite import contents
from bundler.tflite.layers import listed
from bundler.tflite.leading import AIM_DB
from serving.texts import plural

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import TfliteVariant
    from bundler.tflite.calibration import Calibration
    from bundler.tflite.delegation import Delegation
    from bundler.tflite.exchange import ConvertedFile
    from bundler.tflite.runtimes import RuntimeRequirements
    from bundler.values.exported import ExportedSignature

NOTED_RMS = 0.1
"""Smallest relative rms error of an output that is noted."""
_NOISE = 1.05
"""How many times as long as float32 an int8 file takes to be noted as slower."""
_WITHOUT = {
    "dynamic": "weights of fewer than 1,024 values stay float32", "float16": "there are no float32 weights",
    "int4": "no embedding or fully connected layer has 1,024 or more weights in float32",
}  # fmt: skip
"""Why a file has no quantized weights, by variant."""
_QUANTIZED = frozenset({"INT4", "INT8", "UINT8", "INT16", "FLOAT16"})
"""The types of weights and activations of quantized files."""


def flex_notes(operators: Sequence[contents.TfliteOperator]) -> Iterator[str]:
    """Note what a file with Flex operators means for the app."""
    yield (
        f"TensorFlow's own kernels compute {', '.join(contents.flex(operators))} (select_tf_ops): the app needs the Flex "
        "delegate, which is several times as large as LiteRT"
    )
    yield "not run and not compared with PyTorch, because there is no Flex delegate for Python; test the file in the app"


def rms_notes(variant: str, rms: Mapping[str, float]) -> Iterator[str]:
    """Note each output whose rms error, as a share of the output, exceeds `NOTED_RMS`."""
    for name, value in rms.items():
        if value > NOTED_RMS:
            yield (
                f"output {name}: the {variant} file differs from PyTorch by {value:.0%} (rms); "
                "measure its accuracy on real data, or use float16"
            )


def speed_notes(file: ConvertedFile, delegated: Delegation) -> Iterator[str]:
    """Note that an int8 or int4 file is slower than the same graph in float32."""
    if file.float_ms is not None and file.latency_ms[1] > _NOISE * file.float_ms:
        why = f"; {delegated}" if delegated.left else ""
        yield f"slower than float32 here ({file.latency_ms[1]:.3g} and {file.float_ms:.3g} ms with one thread){why}"


def unquantized_notes(variant: TfliteVariant, operators: Sequence[contents.TfliteOperator]) -> Iterator[str]:
    """Note that a file has neither weights nor products in the type that its variant is named after."""
    if variant == "float32" or any(not _QUANTIZED.isdisjoint(operator.inputs) for operator in operators):
        return
    why = _WITHOUT.get(variant, "its operators have no weights, or compute in float only")
    yield f"quantizes nothing: {why}; the file computes as float32 does"


def leading_notes(file: ConvertedFile) -> Iterator[str]:
    """Note how many of the first layers stay float (`bundler.tflite.leading`)."""
    if file.leading:
        layers = plural(file.leading, "convolution or fully connected layer", "convolutions and fully connected layers")
        yield f"float for an SQNR of {AIM_DB:g} dB: the first {layers}"


def int8_notes(layers: Sequence[str]) -> Iterator[str]:
    """Note the layers of an int4 file that are int8 (`bundler.tflite.int4`)."""
    if layers:
        yield f"int8 for an SQNR of {AIM_DB:g} dB: {listed(layers, 4)}"


def runtime_notes(requirements: RuntimeRequirements) -> Iterator[str]:
    """Note each fault of releases that run the file."""
    yield from (f"known fault of {fault}" for fault in requirements.known_bad)


def range_notes(exported: ExportedSignature, calibration: Calibration) -> Iterator[str]:
    """Note each input whose calibration data is far from the example's range, most likely because of other preprocessing."""
    for spec in exported.signature.inputs:
        if not spec.dtype.startswith("float"):
            continue
        example = np.asarray(exported.examples[spec.name], np.float64)
        arrays = [sample.arrays[spec.name] for sample in calibration.samples]
        low, high = float(min(a.min() for a in arrays)), float(max(a.max() for a in arrays))
        spread = max(high - low, float(np.ptp(example)), 1e-12)
        if abs(example.min() - low) > spread / 2 or abs(example.max() - high) > spread / 2:
            yield (
                f"input {spec.name}: the example ranges from {example.min():.3g} to {example.max():.3g}, but the "
                f"calibration data from {low:.3g} to {high:.3g}; check that it is normalized as the model expects"
            )
