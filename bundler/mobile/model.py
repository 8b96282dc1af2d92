"""A model of a bundle as the mobile export sees it. The one place that reads what bundle.json says of TFLite files.

Keys that further tools add to a variant (`accuracy`, `evaluation`, `delegation`, …) may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from bundler.bundle.manifest import FileEntry
from bundler.errors import UsageError, VerifyError
from bundler.spec.bundle_spec import TfliteVariant
from bundler.validation.bundle import Bundle
from bundler.values.signature import Signature, TensorSpec

ORDER: tuple[str, ...] = get_args(TfliteVariant)


@dataclass(frozen=True)
class Preprocessing:
    """How pixels of 0 to 255 become the values of an image input: (pixel - mean) / std, a channel.

    Attributes:
        mean, std: one number, or one a channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class MobileVariant:
    """One .tflite file of the bundle.

    Attributes:
        accuracy: what is known of it, in words: a metric, SQNR, agreement, or the largest error.
        delegated: share of the nodes that XNNPACK runs, 0 to 1; None: not known.
        scales: of inputs and outputs that are quantized integers: value = scale * (integer - zero point).
    """

    name: str
    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    latency_ms: Mapping[int, float]
    operators: Mapping[str, int]
    accuracy: str
    delegated: float | None = None
    scales: Mapping[str, tuple[float, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class MobileModel:
    """One version of a model with the variants that are exported.

    Attributes:
        signature: of the SavedModel; its dims have names.
        permutations: of inputs that are served with other axes than PyTorch's.
    """

    name: str
    version: int
    source: str
    signature: Signature
    variants: tuple[MobileVariant, ...]
    preprocessing: Preprocessing | None = None
    permutations: Mapping[str, Sequence[int]] = field(default_factory=dict)


def read_model(bundle: Bundle, name: str, version: int | None, chosen: Sequence[str]) -> MobileModel:
    """A version (None: the latest) of a model with the chosen variants (none: all), in the order of their size.

    Raises:
        UsageError: there are no variants, or one that was chosen is not there.
        VerifyError: no such model or version, or a file is not as it was built.
    """
    record = bundle.record(name, version)
    number = bundle.versions(name)[-1] if version is None else version
    names = _chosen(name, number, record, chosen)
    folder = bundle.layout.tflite_dir(name, number)
    return MobileModel(
        name,
        number,
        str(record.get("source", {}).get("source", "unknown")),
        bundle.signatures(name, number)["serving_default"],
        tuple(_variant(bundle, folder, variant, record["tflite"][variant]) for variant in names),
        _preprocessing(bundle, name, record),
        record.get("permutations", {}),
    )


def _chosen(model: str, version: int, record: Mapping[str, Any], chosen: Sequence[str]) -> list[str]:
    have = sorted(record.get("tflite", {}), key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    where = f"{model} version {version}"
    if not have:
        raise UsageError(
            "The bundle has no TFLite files of this model.", where=where, fix="build it with --tflite float16,dynamic"
        )
    for variant in chosen:
        if variant not in have:
            refused = record.get("tflite_refused", {}).get(variant, {}).get("reason")
            why = f" It was refused: {refused}" if refused else ""
            raise UsageError(
                f"There is no variant {variant!r}.{why}", where=where, fix=f"one of: {', '.join(have)}"
            )
    return [variant for variant in have if not chosen or variant in chosen]


def _variant(bundle: Bundle, folder: Path, name: str, figures: Mapping[str, Any]) -> MobileVariant:
    path = folder / str(figures["file"])
    _check_file(bundle, path)
    return MobileVariant(
        name,
        path,
        tuple(map(TensorSpec.parse, figures["inputs"])),
        tuple(map(TensorSpec.parse, figures["outputs"])),
        {int(threads): float(ms) for threads, ms in figures.get("latency_ms", {}).items()},
        dict(figures.get("operators", {})),
        _accuracy(figures),
        figures.get("delegation", {}).get("share"),
        _scales(path),
    )


def _scales(path: Path) -> dict[str, tuple[float, int]]:
    from ai_edge_litert.interpreter import Interpreter

    try:
        runner = Interpreter(model_path=str(path)).get_signature_runner("serving_default")
    except (ValueError, RuntimeError) as exc:
        raise VerifyError(f"{path} cannot be read: {str(exc).splitlines()[0]}.") from exc
    details = {**runner.get_input_details(), **runner.get_output_details()}
    found = {name: detail["quantization"] for name, detail in details.items()}
    return {name: (float(scale), int(zero)) for name, (scale, zero) in found.items() if scale}


def _check_file(bundle: Bundle, path: Path) -> None:
    relative = bundle.layout.relative(path)
    want = bundle.manifest.files.get(relative)
    try:
        got = FileEntry.of(path)
    except OSError as exc:
        raise VerifyError(f"{relative} cannot be read: {exc.strerror}.", fix="build the model again") from exc
    if want != got:
        raise VerifyError(f"{relative} is not the file that was built.", fix="tfbundle verify says more")


def _accuracy(figures: Mapping[str, Any]) -> str:
    """The most telling figure that there is."""
    evaluation = figures.get("evaluation", {})
    if "value" in evaluation and "pytorch" in evaluation:
        return f"{evaluation['value']:.4g} (PyTorch {evaluation['pytorch']:.4g})"
    agreeing = figures.get("accuracy", {}).get("outputs", {}).values()
    ratios = [found["sqnr_db"] for found in agreeing if "sqnr_db" in found]
    if ratios:
        return f"SQNR {min(ratios):.1f} dB"
    # An error that is not finite has no figure.
    errors = [difference.get("max_rel") for difference in figures.get("error", ())]
    if errors and None not in errors:
        return f"largest relative error {max(errors):.2g}"
    return "not known"


def _preprocessing(bundle: Bundle, name: str, record: Mapping[str, Any]) -> Preprocessing | None:
    """What bundle.yaml says of a calibration folder of images: value = (pixel * scale - mean) / std."""
    models = [model for model in bundle.manifest.spec.get("models", ()) if model.get("name") == name]
    images = (models[0].get("tflite") or {}).get("images") if models else None
    if not images:
        return None
    scale = float(images.get("scale", 1 / 255))
    mean, std = images.get("mean") or (0.0,), images.get("std") or (1.0,)
    return Preprocessing(tuple(float(m) / scale for m in mean), tuple(float(s) / scale for s in std))
