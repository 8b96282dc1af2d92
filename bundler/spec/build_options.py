"""The keywords of `bundler.build`, for editors and type checkers. Written by `python -m bundler.spec`; do not edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict


class BuildOptions(TypedDict, total=False):
    """Options of a build. All are optional; docs/options.md has their defaults."""

    name: str | None
    """Name that the model is served under. Default: inferred from the source."""

    architecture: str | None
    """file.py:callable that creates the module which a state dict belongs to."""

    weights: str | None
    """State dict to load into the module (.pt, .pth or .safetensors)."""

    pretrained: bool
    """Download the published weights of a timm: or hf: source."""

    trust_pickle: bool
    """Load pickles that can run code. Only for files you made yourself."""

    inputs: Sequence[str]
    """Inputs, e.g. x=float32[batch,3,224,224]; a named dim is dynamic. Default: from the example inputs."""

    outputs: Sequence[str]
    """Names for the outputs, in the model's order. Default: the model's own."""

    signatures: Mapping[str, Mapping[str, Any]]
    """Signatures in addition to serving_default (docs/signatures.md)."""

    labels: str | Sequence[str] | None
    """Class names of a classifier, a file with one per line: adds the signature 'classify'. Or a list."""

    ops: str | Path | Sequence[str | Path]
    """Python files with your own handlers for operators (docs/custom-ops.md)."""

    converter: str
    """Converter from ONNX to TensorFlow: native, onnx-tf, or another installed one."""

    opset: int | None
    """ONNX opset to export. Default: the newest that torch exports well."""

    layout: Literal["keep", "nhwc"] | None
    """Layout of image inputs and outputs: 'keep' PyTorch's NCHW, or 'nhwc', channels last. Default: nhwc in TFLite
    files of models with tflite.images, else keep."""

    precision: Literal["float32", "bfloat16"]
    """Precision of the SavedModel: 'bfloat16' computes convolutions and matrix products in bfloat16 and halves the
    weights, if the result passes the accuracy gate (evaluate, min_sqnr, min_top1 of tflite). Faster on CPUs
    with AVX-512 BF16 or AMX, slower on others."""

    optimize: Literal["latency", "throughput", "size"] | None
    """Build each form that passes its accuracy gate (float32, bfloat16, model.tflite; float16 and int8 with
    calibration data), measure them, and serve the one with the best latency, throughput or size."""

    cast_half: bool
    """float32 inputs and outputs for a half-precision model, because JSON has no half precision."""

    tolerance: float | None
    """Largest relative error allowed against PyTorch. Default: by the dtype in which the model computes: 1e-7 for
    float64, 1e-4 for float32, 0.0039 for float16, 0.031 for bfloat16; up to 0.25 where PyTorch itself rounds
    that much."""

    fast_path: bool | Literal["float32", "float16", "int8"] | None
    """Serve a model.tflite instead of the SavedModel, in float32 (true) or as the TFLite variant float16 or int8,
    with float inputs and outputs and dynamic sizes; these two are left out if they are below the accuracy gate
    of tflite. Default: serving.fast_path."""

    against: Mapping[str, Any]
    """Comparison of a new version with the one in service, which it has to pass."""

    tflite: Sequence[Literal["float32", "float16", "dynamic", "int8", "int8-full", "int8-io", "int16x8", "int4", "mix"]]
    """TFLite variants to build."""

    calibration: str | None
    """Samples for the int variants: an .npz file, a folder of .npz files or images, or module:function."""

    allow_random_calibration: bool
    """Accept 'random' as calibration: value ranges of noise, only to try out sizes and speed."""

    images: Mapping[str, Any] | None
    """Preprocessing of images: in a calibration folder, and in apps."""

    batch: int
    """Size of the dim named 'batch' in the .tflite files."""

    dims: Mapping[str, int]
    """Sizes of dynamic dims in the .tflite files, by name."""

    shapes: Mapping[str, Mapping[str, int]]
    """Additional signatures of the same file with other sizes."""

    tflite_io: Literal["portable", "model"]
    """Types of the files' inputs and outputs: with 'portable', int64 becomes int32 and bool becomes uint8, which
    LiteRT.js, MediaPipe and Swift take; 'model' keeps the model's."""

    io_type: Literal["int8", "uint8"] | None
    """Data type of the inputs and outputs of 'int8-io'. Default: uint8, or int8 with io: model."""

    float_layers: Sequence[str]
    """Layers that stay float in 'mix': modules, ONNX nodes or operators; * matches any text. Default: chosen by
    measurement."""

    auto_mix: bool
    """Build 'mix' with the smallest set of float layers that passes the accuracy gate."""

    select_tf_ops: bool
    """Use TensorFlow's kernels for operators that TFLite lacks; the app then needs the Flex delegate."""

    target_runtime: str | None
    """Oldest runtime that the files have to run on, RUNTIME==VERSION. Versions of operators are lowered to it; a
    file that it cannot run is rejected."""

    gate: str | None
    """Accuracy gate, module:function: returns a metric of predict (higher is better) or labelled samples."""

    max_drop: float
    """With evaluate: largest allowed drop of a variant's metric below PyTorch's."""

    min_sqnr: float
    """Without evaluate: lowest signal-to-quantization-noise ratio of each output, in dB."""

    min_top1: float | None
    """Without evaluate: lowest share of equal top-1 answers."""
