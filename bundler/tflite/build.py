"""Builds the requested TFLite variants of a model."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.tflite.builder import VariantBuilder
from bundler.tflite.exchange import WorkerClient
from bundler.tflite.image_inputs import FileInputs, check_pixels, image_form
from bundler.tflite.model import CalibrationSamples, Evaluator, StaticModel
from bundler.tflite.rejected import Outcome, RejectedVariant
from bundler.tflite.request import check_request
from bundler.tflite.result import VariantResult
from bundler.tflite.sizes import static_sizes

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import SignatureLayout, TfliteSpec, TfliteVariant
    from bundler.values.converted import ConvertedModel
    from bundler.values.exported import ExportedSignature

OnVariant = Callable[[str, bool, float], None]
"""Called with a variant's name, whether it was made, and the seconds it took."""


def build_variants(
    converted: ConvertedModel,
    exported: ExportedSignature,
    spec: TfliteSpec,
    folder: Path,
    model_name: str,
    *,
    base: Path = Path(),
    layout: SignatureLayout | None = None,
) -> tuple[VariantResult, ...]:
    """Make all requested variants, or raise an error if one is rejected. The arguments are those of `make_variants`.

    Raises:
        TfbundleError: as `make_variants`, or one or more variants cannot be made or are below their gate. All variants are
            tried, and the error names all failures.
    """
    outcome = make_variants(converted, exported, spec, folder, model_name, base=base, layout=layout)
    if outcome.rejected:
        raise outcome.joined_error()
    return outcome.variants


def make_variants(
    converted: ConvertedModel,
    exported: ExportedSignature,
    spec: TfliteSpec,
    folder: Path,
    model_name: str,
    *,
    base: Path = Path(),
    layout: SignatureLayout | None = None,
    on_variant: OnVariant | None = None,
) -> Outcome:
    """Write `<model>-<variant>.tflite` for each variant of the spec, run it and compare it with PyTorch.

    A variant that cannot be made or is below its gate leaves no file, and the other variants are still made.

    Args:
        converted: the converted model.
        exported: serving_default, with PyTorch as the reference.
        spec: the model's `tflite` section.
        folder: an existing folder for the files.
        model_name: first part of the files' names.
        base: folder that a relative path of calibration data starts from.
        layout: the model's layout; None for channels last in files of image models.
        on_variant: called after each variant.

    Returns:
        The variants that were made and those that were rejected.

    Raises:
        UsageError: the request is invalid (see `check_request` and `image_form`), or PyTorch rejects the sizes.
    """
    check_request(spec, base, str(exported.onnx.absolute()))
    if not spec.wanted:
        return Outcome()
    sizes = static_sizes(exported.signature, exported.examples, spec)
    form = image_form(exported.signature, spec, base, layout=layout, permutations=converted.permutations)
    samples = CalibrationSamples.read(exported, spec, sizes, base)
    check_pixels(form, samples.calibration)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".work-") as work:
        file_inputs = FileInputs(converted.permutations, form)
        model = StaticModel.prepare(converted, exported, spec, samples.calibration, file_inputs, Path(work))
        with WorkerClient(Path(work)) as client:
            evaluator = Evaluator(exported, spec, model, base)
            builder = VariantBuilder(model, samples, client, folder / model_name, evaluator)
            return Outcome.of([_timed_build(builder, variant, on_variant) for variant in spec.wanted])


def make_resizable(
    variant: TfliteVariant, converted: ConvertedModel, exported: ExportedSignature, spec: TfliteSpec, work: Path, *, base: Path
) -> VariantResult | RejectedVariant:
    """Make one variant of serving_default that keeps the dynamic sizes and the types of the model's inputs and outputs.

    Calibration, gate and measurements are those of any variant, at the sizes that the spec gives its files. For a variant below
    its gate, no layers at fault are searched for.

    Args:
        variant: the variant.
        converted: the converted model.
        exported: serving_default, with PyTorch as the reference.
        spec: the model's `tflite` section.
        work: an existing folder, in which the file stays.
        base: folder that a relative path of calibration data starts from.

    Raises:
        UsageError: PyTorch rejects the sizes.
    """
    spec = spec.model_copy(update={
        "variants": (variant,), "auto_mix": False, "io": "model", "shapes": {}, "select_tf_ops": False, "target_runtime": None,
    })  # fmt: skip
    sizes = static_sizes(exported.signature, exported.examples, spec)
    samples = CalibrationSamples.read(exported, spec, sizes, base)
    file_inputs = FileInputs(converted.permutations)
    model = StaticModel.prepare(converted, exported, spec, samples.calibration, file_inputs, work, resizable=True)
    with WorkerClient(work) as client:
        evaluator = Evaluator(exported, spec, model, base)
        return VariantBuilder(model, samples, client, work / "resizable", evaluator, searches=False).build(variant)


def _timed_build(
    builder: VariantBuilder, variant: TfliteVariant, on_variant: OnVariant | None
) -> VariantResult | RejectedVariant:
    start = time.perf_counter()
    result = builder.build(variant)
    if on_variant:
        on_variant(variant, isinstance(result, VariantResult), time.perf_counter() - start)
    return result
