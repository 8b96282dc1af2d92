"""Reads a model and its TFLite variants from a bundle, for the mobile export.

The keys `accuracy`, `evaluation`, `delegation` and `load_ms` of a variant's record may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from bundler.adapters.preprocessing import IMAGES_RULE
from bundler.bundle.files import own_file
from bundler.bundle.manifest import FileEntry
from bundler.errors import UsageError, VerifyError
from bundler.process.causes import cause_of
from bundler.spec.bundle_spec import TfliteVariant
from bundler.spec.signature_spec import ImageSpec
from bundler.tflite.contents import has_variables, subgraphs
from bundler.validation.bundle import Bundle
from bundler.values.signature import Signature, TensorSpec
from serving.texts import shell_command

ORDER: tuple[str, ...] = get_args(TfliteVariant)


@dataclass(frozen=True)
class Preprocessing:
    """How a decoded image becomes the values of an image input, as `bundler.adapters.preprocessing` prepares calibration images.

    1. The image is resized: by default as a whole to the input's size; with `crop`, the shorter side to a number, or both
       sides to (height, width), after which the center is cut to the input's size.
    2. The channels are put in the order of `channels`.
    3. Pixels of 0 to 255 are normalized: (pixel - mean) / std.

    Attributes:
        mean, std: one number, or one per channel in the order of `channels`.
        resize: the size before the crop; None for the input's size.
        crop: whether the center is cut out.
        interpolation: Pillow's filter: nearest, bilinear, bicubic or lanczos.
        channels: rgb or bgr.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (255.0,)
    resize: int | tuple[int, int] | None = None
    crop: bool = False
    interpolation: str = "bilinear"
    channels: str = "rgb"

    @property
    def takes_pixels(self) -> bool:
        """Whether pixels are passed as they are."""
        return set(self.mean) == {0.0} and set(self.std) == {1.0}

    @classmethod
    def of(cls, spec: ImageSpec) -> Preprocessing:
        """Return the preprocessing that bundle.yaml declares; there, a value is (pixel * scale - mean) / std."""
        mean, std = spec.mean or (0.0,), spec.std or (1.0,)
        return cls(
            tuple(m / spec.scale for m in mean), tuple(s / spec.scale for s in std),
            spec.resize, spec.crop == "center", spec.interpolation, spec.channels,
        )  # fmt: skip


@dataclass(frozen=True)
class MobileVariant:
    """One .tflite file of a bundle.

    Attributes:
        name: the variant's name.
        path: the file.
        inputs, outputs: those of serving_default.
        latency_ms: median latency in milliseconds, by number of threads.
        operators: counts by TFLite operator name.
        accuracy: a description of the accuracy: a metric, an SQNR, or the largest error.
        delegation: the part of the graph that XNNPACK runs: nodes, delegated, share, partitions, left; empty if unknown.
        load_ms: time from the file to an interpreter that is ready to run, in milliseconds; None if unknown.
        scales: (scale, zero point) of quantized inputs and outputs, by name: value = scale * (integer - zero point).
        model_dtypes: the model's dtypes of inputs and outputs that have another in the file, by name.
        subgraphs: the number of its subgraphs.
        pixels: the input that takes pixels of 0 to 255, or None (`tflite.images.fold`).
        has_variables: whether the file has variable tensors, as TFLite's LSTM operator needs for its states.
    """

    name: str
    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    latency_ms: Mapping[int, float]
    operators: Mapping[str, int]
    accuracy: str
    delegation: Mapping[str, Any] = field(default_factory=dict)
    scales: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    load_ms: float | None = None
    model_dtypes: Mapping[str, str] = field(default_factory=dict)
    has_variables: bool = False
    subgraphs: int = 1
    pixels: str | None = None

    def remark(self, name: str) -> str:
        """Return how values of an input or output differ from the model's, such as `int64 in the model`; empty if they do not."""
        dtype = self.model_dtypes.get(name)
        if dtype is None:
            return ""
        return f"{dtype} in the model{': 0 is false, any other value is true' if dtype == 'bool' else ''}"


@dataclass(frozen=True)
class MobileModel:
    """One version of a model, with the variants to export.

    Attributes:
        name: the model's name.
        version: the version.
        source: the source that the model was built from.
        signature: the SavedModel's serving_default, whose dims have names.
        variants: the variants to export.
        preprocessing: preprocessing of its image input, if known.
        permutations: `ConvertedModel.permutations`, of inputs with another axis order than PyTorch's.
    """

    name: str
    version: int
    source: str
    signature: Signature
    variants: tuple[MobileVariant, ...]
    preprocessing: Preprocessing | None = None
    permutations: Mapping[str, Sequence[int]] = field(default_factory=dict)


def read_model(bundle: Bundle, name: str, version: int | None, variants: Sequence[str]) -> MobileModel:
    """Read a version of a model, with its variants in the order of `ORDER`.

    Args:
        bundle: the bundle.
        name: the model's name.
        version: the version; None for the latest.
        variants: names of the variants to export; empty for all.

    Raises:
        UsageError: the model has no variants, or a requested variant does not exist.
        VerifyError: the model or version does not exist, or a file has changed since it was built.
    """
    record = bundle.record(name, version)
    number = bundle.versions(name)[-1] if version is None else version
    names = _variant_names(name, number, record, variants)
    folder = bundle.layout.tflite_dir(name, number)
    return MobileModel(
        name,
        number,
        str(record.get("source", {}).get("source", "unknown")),
        bundle.signatures(name, number)["serving_default"],
        tuple(_variant(bundle, folder, variant, record["tflite"][variant]) for variant in names),
        _preprocessing(bundle, name, record["tflite"]),
        record.get("permutations", {}),
    )


def _variant_names(model: str, version: int, record: Mapping[str, Any], requested: Sequence[str]) -> list[str]:
    available = sorted(record.get("tflite", {}), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    where = f"{model} version {version}"
    if not available:
        raise UsageError(
            "The bundle has no TFLite files of this model.",
            where=where,
            fix="build it with --tflite float16,dynamic",
            code="TFB4501",
        )
    for variant in requested:
        if variant not in available:
            reason = record.get("tflite_refused", {}).get(variant, {}).get("reason")
            explanation = f" It was rejected: {reason}" if reason else ""
            raise UsageError(
                f"There is no variant {variant!r}.{explanation}",
                where=where,
                fix=f"choose one of: {', '.join(available)}",
                code="TFB1006",
            )
    return [variant for variant in available if not requested or variant in requested]


def _variant(bundle: Bundle, folder: Path, name: str, figures: Mapping[str, Any]) -> MobileVariant:
    path = folder / str(figures["file"])
    _check_file(bundle, path)
    try:
        inputs, outputs = (tuple(map(TensorSpec.read, figures[side])) for side in ("inputs", "outputs"))
    except ValueError as exc:
        raise VerifyError(
            f"bundle.json describes {path.name} wrongly: {exc}.", fix="build the model again", code="TFB5102"
        ) from exc
    return MobileVariant(
        name,
        path,
        inputs,
        outputs,
        {int(threads): float(ms) for threads, ms in figures.get("latency_ms", {}).items()},
        dict(figures.get("operators", {})),
        _accuracy(figures),
        dict(figures.get("delegation") or {}),
        _scales(path),
        figures.get("load_ms"),
        figures.get("model_dtypes", {}),
        has_variables(path),
        subgraphs(path),
        figures.get("pixels"),
    )


def _scales(path: Path) -> dict[str, tuple[float, int]]:
    from ai_edge_litert.interpreter import Interpreter

    try:
        runner = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    except (ValueError, RuntimeError) as exc:
        raise VerifyError(f"{path} cannot be read: {cause_of(exc)}.", code="TFB5104") from exc
    details = {**runner.get_input_details(), **runner.get_output_details()}
    pairs = {name: detail["quantization"] for name, detail in details.items()}
    return {name: (float(scale), int(zero)) for name, (scale, zero) in pairs.items() if scale}


def _check_file(bundle: Bundle, path: Path) -> None:
    relative = bundle.layout.relative(path)
    expected = bundle.manifest.files.get(relative)
    try:
        actual = FileEntry.of(own_file(bundle.path, path))
    except OSError as exc:
        raise VerifyError(
            f"{relative} cannot be read: {exc.strerror}.", fix="build the model again", code="TFB5104"
        ) from exc
    if expected != actual:
        fix = f"run `{shell_command('tfbundle', 'verify', bundle.path)}` for details"
        raise VerifyError(f"{relative} is not the file that was built.", fix=fix, code="TFB5104")


def _accuracy(figures: Mapping[str, Any]) -> str:
    """Describe the most meaningful accuracy figure that is available."""
    evaluation = figures.get("evaluation") or {}
    if "value" in evaluation and "pytorch" in evaluation:
        return f"{float(evaluation['value']):.4g} (PyTorch {float(evaluation['pytorch']):.4g})"
    outputs = (figures.get("accuracy") or {}).get("outputs", {}).values()
    ratios = [float(output["sqnr_db"]) for output in outputs if output.get("sqnr_db") is not None]
    if ratios:
        return f"SQNR {min(ratios):.1f} dB"
    # A non-finite error has no max_rel.
    errors = [difference.get("max_rel") for difference in figures.get("error", ())]
    if errors and None not in errors:
        return f"largest relative error {max(errors):.2g}"
    return "not known"


def _preprocessing(bundle: Bundle, name: str, variants: Mapping[str, Any]) -> Preprocessing | None:
    """Return what an app has to do; files that normalize pixels themselves leave resizing and cropping to it."""
    declared = _declared_preprocessing(bundle, name, variants)
    if not any(record.get("pixels") for record in variants.values()):
        return declared
    return replace(declared or Preprocessing(), mean=(0.0,), std=(1.0,), channels="rgb")


def _declared_preprocessing(bundle: Bundle, name: str, variants: Mapping[str, Any]) -> Preprocessing | None:
    """Return the preprocessing of calibration images: that of bundle.yaml, or the default that the build used."""
    models = [model for model in bundle.manifest.spec.get("models", ()) if model.get("name") == name]
    images = (models[0].get("tflite") or {}).get("images") if models else None
    if images:
        try:
            return Preprocessing.of(ImageSpec.model_validate(images))
        except ValidationError as exc:
            raise VerifyError(
                f"bundle.json describes the images of {name} wrongly: {exc.errors()[0]['msg']}.",
                fix="build the model again",
                code="TFB5102",
            ) from exc
    rules = [str((record.get("calibration") or {}).get("rule", "")) for record in variants.values()]
    return Preprocessing() if any(rule.startswith(IMAGES_RULE) for rule in rules) else None
