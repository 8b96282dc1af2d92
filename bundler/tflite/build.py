"""Builds the requested TFLite variants of a model."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.tflite.builder import VariantBuilder
from bundler.tflite.image_inputs import FileInputs, check_pixels, image_form
from bundler.tflite.model import CalibrationSamples, Evaluator, StaticModel
from bundler.tflite.processes import Processes
from bundler.tflite.rejected import Outcome, RejectedVariant
from bundler.tflite.request import check_request
from bundler.tflite.result import VariantResult
from bundler.tflite.sizes import static_sizes

if TYPE_CHECKING:
    from bundler.spec.bundle_spec import SignatureLayout, TfliteSpec, TfliteVariant
    from bundler.values.converted import ConvertedModel
    from bundler.values.exported import ExportedSignature


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
    processes: Processes | None = None,
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
        processes: the processes that make the files, if they are started already.

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
    with ExitStack() as stack:
        if processes is None:
            work = stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix=".work-"))
            processes = stack.enter_context(Processes(Path(work), spec.wanted))
        file_inputs = FileInputs(converted.permutations, form)
        model = StaticModel.prepare(converted, exported, spec, samples.calibration, file_inputs, processes.work)
        evaluator = Evaluator(exported, spec, model, base)
        builder = VariantBuilder(model, samples, processes, folder / model_name, evaluator)
        return Outcome.of(builder.build(spec.wanted))


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
    with Processes(work, spec.wanted) as processes:
        evaluator = Evaluator(exported, spec, model, base)
        [made] = VariantBuilder(model, samples, processes, work / "resizable", evaluator, searches=False).build(spec.wanted)
    return made
