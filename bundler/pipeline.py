"""The pipeline: a bundle.yaml goes in, a bundle comes out. The order of the stages stands here and nowhere
else.

    load -> export -> convert -> saved_model -> tflite -> fast_path -> parity (-> evaluate)  for each model
    render -> publish                                                           for the bundle

Each stage is one function from values to values; none is visible to the user before `publish`. This module
is imported with the package (`bundler.build` is the function, not the module), so it imports the stages
when it comes to them.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bundler.errors import UsageError

if TYPE_CHECKING:
    import torch

    from bundler.bundle.manifest import Manifest, Record
    from bundler.bundle.staging import Staging
    from bundler.converters import Converter
    from bundler.converters.native.plugins import Extension
    from bundler.sources import LoadedModel
    from bundler.spec.bundle_spec import BundleSpec, ModelSpec, SignatureLayout, TfliteVariant
    from bundler.tflite import Outcome, RejectedVariant, VariantResult
    from bundler.tflite.fast_path import FastPath
    from bundler.validation.bundle import Bundle
    from bundler.validation.report import ParityReport
    from bundler.values.converted import ConvertedModel
    from bundler.values.exported import ExportedSignature
    from bundler.values.reference import ReferenceOutputs
    from bundler.values.signature import Signature

Stage = Literal[
    "load", "export", "explain", "convert", "saved_model", "tflite", "fast_path", "parity", "evaluate", "render",
    "publish",
]


@dataclass(frozen=True)
class StageEvent:
    """A stage, or a part of one, began or ended.

    Attributes:
        model: name of the model; empty for the stages of the whole bundle.
        seconds: how long it took; 0 for `started`.
        part: of the stage, such as a TFLite variant; empty for the stage itself.
    """

    model: str
    stage: Stage
    status: Literal["started", "finished", "failed"]
    seconds: float = 0.0
    part: str = ""


Progress = Callable[[StageEvent], None]
Evaluate = Callable[["BuiltModel"], Mapping[str, Any]]


@dataclass(frozen=True)
class BuiltModel:
    """What an `evaluate` function gets: a model's artifacts before they are published.

    Attributes:
        saved_model: folder of the SavedModel.
        tflite: file of each variant.
        reference: PyTorch's serving_default: arrays by input name to arrays by output name.
    """

    saved_model: Path
    tflite: Mapping[str, Path]
    reference: Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class _Served:
    """What is kept of a converted model once it is on disk."""

    signatures: Mapping[str, Signature]
    permutations: Mapping[str, tuple[int, ...]]
    methods: Mapping[str, str]


@dataclass
class _Job:
    """One model on its way."""

    spec: ModelSpec
    version: int
    converter: Converter
    base: Path
    staging: Staging
    progress: Progress
    extension: Extension | None = None
    has_fast_path: bool = False
    max_rows: int | None = None
    loaded: LoadedModel | None = None
    evaluate: Evaluate | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    refused: tuple[RejectedVariant, ...] = ()

    @contextmanager
    def stage(self, name: Stage) -> Iterator[None]:
        with timed(self.progress, self.spec.name, name, self.seconds):
            yield

    @property
    def saved_model(self) -> Path:
        return self.staging.layout.version_dir(self.spec.name, self.version)


def build_bundle(
    spec: BundleSpec,
    out: Path,
    *,
    base: Path,
    version: int | None = None,
    progress: Progress | None = None,
    loaded: Mapping[str, LoadedModel] | None = None,
    evaluate: Mapping[str, Evaluate] | None = None,
) -> Bundle:
    """Build every model of the spec as a new version in the bundle at `out`.

    Args:
        base: folder that relative paths of the spec start from.
        version: number of the new versions; None: the next free one of each model.
        progress: called as stages begin and end.
        loaded: models that are in memory already, by name.
        evaluate: functions that measure a built model, by name; what they return is kept in bundle.json.

    Raises:
        VariantsError: TFLite variants could not be made or are below their gate; the bundle was published without them.
        TfbundleError: of the stage that failed; the bundle is as it was.
    """
    from bundler.bundle.staging import Staging
    from bundler.render.parts import render_parts
    from bundler.validation.bundle import Bundle

    tell = progress or _say_nothing
    if not spec.models:
        raise UsageError("There is no model to build.", fix="add one under 'models' in bundle.yaml")
    checked = {model.name: check_model(model, base, has_fast_path=spec.has_fast_path(model)) for model in spec.models}
    notices: list[str] = []
    refused: dict[str, Sequence[RejectedVariant]] = {}
    with Staging(out) as staging:
        versions = {model.name: staging.next_version(model.name, version) for model in spec.models}
        manifest = _manifest(staging, spec)
        _check_settings(manifest, versions)
        for model in spec.models:
            converter, extension = checked[model.name]
            job = _Job(model, versions[model.name], converter, base, staging, tell, extension, spec.has_fast_path(model))
            job.max_rows = spec.serving.max_batch_size if spec.serving.batching else None
            job.loaded = (loaded or {}).get(model.name)
            job.evaluate = (evaluate or {}).get(model.name)
            manifest = manifest.with_version(model.name, job.version, _build_model(job))
            notices += job.notices
            refused[model.name] = job.refused
        with timed(tell, "", "render"):
            render_parts(staging, manifest)
        with timed(tell, "", "publish"):
            published = staging.publish(manifest)
    bundle = Bundle(staging.bundle, published.manifest, (*notices, *published.notices))
    if any(refused.values()):
        from bundler.tflite.rejected import variants_error

        raise variants_error(refused, bundle)
    return bundle


def _build_model(job: _Job) -> Record:
    from bundler.saved_model.summarize import methods

    with job.stage("load"):
        loaded = job.loaded or _load(job)
    with job.stage("export"):
        exported = _export(job, loaded)
        asked = _ask(job, exported)
    with job.stage("convert"):
        converted = _convert(job, exported)
        derived = _derive(job, asked, converted)
    with job.stage("saved_model"):
        graph = _save(job, converted)
    outcome = _tflite(job, converted, exported)
    variants, job.refused = outcome.made, outcome.refused
    fast_path = _fast_path(job, converted, asked)
    served = _Served(converted.signatures, converted.permutations, methods(job.saved_model))
    del converted
    gc.collect()  # its functions and variables refer to each other
    with job.stage("parity"):
        report, largest_batch = _prove(job, served, asked, derived, variants, fast_path)
    measured = _evaluate(job, exported, variants)
    return (
        _record(job, loaded, exported, served, report)
        | measured
        | {
            "graph": graph.to_json(),
            "largest_batch": largest_batch,
            "tflite": {variant.variant: variant.to_json() for variant in variants},
            **({"fast_path": fast_path.to_json()} if fast_path else {}),
            "tflite_refused": {refused.variant: refused.to_json() for refused in job.refused},
            "stages": {name: round(seconds, 3) for name, seconds in job.seconds.items()},
        }
    )


def _load(job: _Job) -> LoadedModel:
    from bundler.sources import load

    return load(job.spec, base=job.base)


def _export(job: _Job, loaded: LoadedModel) -> tuple[ExportedSignature, ...]:
    from bundler.export.stage import export

    work = job.staging.work / job.spec.name
    work.mkdir()
    translations = job.extension.handlers.translations() if job.extension else None
    return export(loaded, job.spec, work, max_opset=job.converter.max_opset, translations=translations)


def _ask(job: _Job, exported: Sequence[ExportedSignature]) -> tuple[ReferenceOutputs, ...]:
    """PyTorch's answers. A large model of our own loading leaves the memory then, so that TensorFlow's copy has room."""
    from bundler.validation import parity
    from bundler.values.exported import Offloadable

    asked = parity.references(exported)
    for one in exported:
        is_large = one.onnx.with_name(f"{one.onnx.name}.data").exists()
        reference: object = one.reference
        if is_large and job.loaded is None and isinstance(reference, Offloadable):
            reference.park(job.staging.work)
    return asked


def _convert(job: _Job, exported: Sequence[ExportedSignature]) -> ConvertedModel:
    return job.converter.convert({one.name: one.onnx for one in exported}, layout=job.spec.layout)


def _derive(job: _Job, asked: Sequence[ReferenceOutputs], converted: ConvertedModel) -> tuple[ReferenceOutputs, ...]:
    """The signatures at the model's edges: tf.Examples, image files, sentences, classes."""
    from bundler import adapters

    return adapters.derive(job.spec, asked, converted, job.base)


def _save(job: _Job, converted: ConvertedModel) -> Any:
    from bundler.saved_model.summarize import summarize
    from bundler.saved_model.write import write

    job.saved_model.parent.mkdir(parents=True, exist_ok=True)
    write(converted, job.saved_model)
    return summarize(job.saved_model)


def _tflite(job: _Job, converted: ConvertedModel, exported: Sequence[ExportedSignature]) -> Outcome:
    from bundler.tflite import Outcome, make_variants

    spec = job.spec.tflite
    if not spec.wanted:
        return Outcome()

    def tell(variant: str, made: bool, seconds: float) -> None:
        job.progress(StageEvent(job.spec.name, "tflite", "finished" if made else "failed", seconds, variant))

    folder = job.staging.layout.tflite_dir(job.spec.name, job.version)
    folder.mkdir(parents=True)
    with job.stage("tflite"):
        outcome = make_variants(converted, exported[0], spec, folder, job.spec.name, base=job.base, tell=tell)
    if not outcome.made:
        folder.rmdir()
    return outcome


def _fast_path(job: _Job, converted: ConvertedModel, asked: Sequence[ReferenceOutputs]) -> FastPath | None:
    if not job.has_fast_path:
        return None
    from bundler.tflite.fast_path import build_fast_path

    target = job.staging.layout.fast_path_file(job.spec.name, job.version)
    work = job.staging.work / f"{job.spec.name}-fast-path"
    with job.stage("fast_path"):
        return build_fast_path(converted, asked[0], job.saved_model, target, work)


def _prove(
    job: _Job,
    served: _Served,
    asked: Sequence[ReferenceOutputs],
    derived: Sequence[ReferenceOutputs],
    variants: Sequence[VariantResult],
    fast_path: FastPath | None,
) -> tuple[ParityReport, int]:
    """Compare with PyTorch's answers, then keep some of the answers as golden data and as warm-up records.

    Returns:
        The report, and the rows of the largest warm-up record.
    """
    from bundler.graph.quantized_source import comes_quantized
    from bundler.saved_model.warmup import write_warmup
    from bundler.validation import parity
    from bundler.validation.golden import make_golden

    spec, layout = job.spec, job.staging.layout
    report = parity.check(
        asked,
        job.saved_model,
        tolerance=spec.tolerance,
        permutations=served.permutations,
        derived=derived,
        variants=variants,
        fast_path=fast_path.rows if fast_path else (),
        converter=spec.converter,
        handlers=job.extension.handlers if job.extension else None,
    )
    if not report.passed:
        raise report.error(quantized=comes_quantized(spec.source, job.base))
    job.notices.extend(f"{spec.name}, {note}" for note in report.not_run)
    answers = (*asked, *derived)
    golden = make_golden(
        spec.name, answers, tolerance=spec.tolerance, permutations=served.permutations, max_rows=job.max_rows
    )
    file = layout.golden_file(spec.name, job.version)
    file.parent.mkdir(parents=True, exist_ok=True)
    golden.save(file)
    write_warmup(golden, spec.name, layout.warmup(spec.name, job.version), served.methods)
    return report, golden.largest_batch


def _evaluate(
    job: _Job, exported: Sequence[ExportedSignature], variants: Sequence[VariantResult]
) -> dict[str, Any]:
    if job.evaluate is None:
        return {}
    files: dict[str, Path] = {variant.variant: variant.path for variant in variants}
    with job.stage("evaluate"):
        return {"evaluation": dict(job.evaluate(BuiltModel(job.saved_model, files, exported[0].reference)))}


def _record(
    job: _Job,
    loaded: LoadedModel,
    exported: Sequence[ExportedSignature],
    served: _Served,
    report: ParityReport,
) -> Record:
    from bundler.graph.external_data import move_with_data

    layout, name = job.staging.layout, job.spec.name
    opset = move_with_data(exported[0].onnx, layout.onnx_file(name, job.version))
    for one in exported[1:]:
        move_with_data(one.onnx, layout.onnx_file(name, job.version, one.name))
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "source": dict(loaded.provenance) | _ops(job.extension),
        "converter": job.spec.converter,
        "layout": job.spec.layout,
        "permutations": {key: list(axes) for key, axes in served.permutations.items()},
        "opset": opset,
        "signatures": {key: signature.to_json() for key, signature in served.signatures.items()},
        "parity": report.to_json(),
    }


def _ops(extension: Extension | None) -> dict[str, Any]:
    return {"ops": list(extension.provenance)} if extension else {}


def _manifest(staging: Staging, spec: BundleSpec) -> Manifest:
    """The bundle's content as it stands, with the new spec and the tools of today.

    Models of earlier builds stay. Settings that the new spec does not mention stay, too, and so do promoted labels.
    """
    from bundler.bundle.labels import kept_serving
    from bundler.bundle.manifest import Manifest, tool_versions

    dump = spec.model_dump(mode="json")
    before = staging.manifest
    if before is None:
        return Manifest(dump, tools=tool_versions())
    built = {model.name for model in spec.models}
    others = [model for model in before.spec["models"] if model["name"] not in built]
    unsaid = {key: value for key, value in before.spec.items() if key not in spec.model_fields_set}
    merged = {**dump, **unsaid, "models": [*others, *dump["models"]]}
    merged["serving"] = kept_serving(before, merged["serving"], spec.stated_serving, staging.notices)
    return replace(before, spec=merged, tools=tool_versions())


def _check_settings(manifest: Manifest, versions: Mapping[str, int]) -> None:
    """Find labels and versions of the serving section that will not exist now, not after minutes of work."""
    from bundler.render.parts import render_context
    from bundler.render.tf_serving import server_config

    for name, number in versions.items():
        manifest = manifest.with_version(name, number, {"signatures": {}})
    server_config(render_context("bundle", manifest))


def check_model(
    model: ModelSpec, base: Path, *, has_fast_path: bool = False
) -> tuple[Converter, Extension | None]:
    """Find an unknown converter, a hopeless TFLite request or bad handlers before any work is done.

    Returns:
        The converter, with the handlers of the model's `ops` and of installed packages, and these.

    Raises:
        UsageError: there is no such converter, it takes no handlers, or they contradict each other.
        SourceError: a file of `ops` cannot be used.
    """
    from bundler.converters import ExtensibleConverter, load_converter
    from bundler.converters.native import plugins

    if model.tflite.wanted:
        from bundler.tflite.request import check_request

        check_request(model.tflite, base, model.source)
    if has_fast_path:
        from bundler.tflite import fast_path

        fast_path.check_request(model)
    if model.derived:
        from bundler import adapters

        adapters.check_request(model, base)
    converter = load_converter(model.converter)
    if not isinstance(converter, ExtensibleConverter):
        if model.ops:
            raise UsageError(
                f"The converter {model.converter} takes no handlers of your own (ops: {', '.join(model.ops)}).",
                fix="leave --ops out, or take --converter native",
            )
        return converter, None
    found = plugins.find(model.ops, base=base)
    return (converter.with_handlers(found.handlers), found) if found else (converter, None)


@contextmanager
def timed(
    progress: Progress, model: str, stage: Stage, seconds: dict[str, float] | None = None
) -> Iterator[None]:
    """Tell of a stage's begin and end, and note how long it took."""
    progress(StageEvent(model, stage, "started"))
    start = time.perf_counter()
    status: Literal["finished", "failed"] = "failed"
    try:
        yield
        status = "finished"
    finally:
        took = time.perf_counter() - start
        if seconds is not None:
            seconds[stage] = took
        progress(StageEvent(model, stage, status, took))


def _say_nothing(event: StageEvent) -> None:
    pass


def stage_count(spec: BundleSpec, evaluated: int = 0) -> int:
    """How many stages a build of the spec has; `evaluated` of its models are measured, too."""
    stages = sum(5 + bool(model.tflite.wanted) + spec.has_fast_path(model) for model in spec.models)
    return stages + evaluated + 2


def build(
    source: str | Path | torch.nn.Module,
    example_inputs: Any = None,
    out: str | Path | None = None,
    *,
    name: str | None = None,
    version: int | None = None,
    tflite: Sequence[TfliteVariant] = (),
    ops: str | Path | Sequence[str | Path] = (),
    progress: Progress | None = None,
    evaluate: Evaluate | None = None,
    gate: str | None = None,
    **options: Any,
) -> Bundle:
    """Build one model, or every model of a bundle.yaml, as a new version in a bundle.

    Args:
        source: a module, or what the command line takes: file.py:callable, .pt2, .onnx, .pt, .pth,
            .safetensors, timm:NAME, hf:NAME_OR_PATH, or the path of a bundle.yaml.
        example_inputs: for a module: a tensor or array, a tuple of them, or a dict by input name.
        out: the bundle's folder; default: dist/<name>.
        name: name that the model is served under; default: from the source.
        version: number of the new version; default: the next free one.
        tflite: variants to make: float32, float16, dynamic, int8, int8-io, int16x8, mix (docs/tflite.md).
        ops: Python files with handlers of your own for operators of the graph (docs/custom-ops.md).
        progress: called as stages begin and end.
        evaluate: measures the built model; what it returns is kept in bundle.json.
        gate: `module:function`, the metric that each TFLite variant has to pass: `--evaluate`, see docs/tflite.md.
        options: further fields of `bundler.spec.bundle_spec.ModelSpec` (inputs, outputs, signatures, architecture,
            weights, pretrained, trust_pickle, converter, opset, layout, tolerance), `dims`, and those of
            `bundler.spec.bundle_spec.TfliteSpec` (calibration, float_layers, auto_mix, max_drop, …).

    Raises:
        VariantsError: TFLite variants could not be made or are below their gate; the bundle was published without
            them, and is the error's `bundle`.
        TfbundleError: see `bundler.errors`; the bundle is as it was.
    """
    from bundler.spec.request import make_request

    said = {"name": name, "variants": tuple(tflite), "ops": _paths(ops), "evaluate": gate}
    given = {**options, **{key: value for key, value in said.items() if value}}
    text = str(source) if isinstance(source, (str, Path)) else f"python:{type(source).__qualname__}"
    request = make_request(text, Path(out) if out else None, given)
    models = request.spec.models
    loaded = {}
    if not isinstance(source, (str, Path)):
        loaded[models[0].name] = _loaded_module(source, example_inputs, models[0])
    elif example_inputs is not None:
        raise UsageError(
            "example_inputs go with a module; a source brings its own.",
            where=text,
            fix="return (module, example_inputs) from the callable, or give inputs=('x=float32[batch,3]',)",
        )
    if evaluate is not None and len(models) != 1:
        raise UsageError("evaluate goes with one model.", where=text, fix="build the models one by one")
    return build_bundle(
        request.spec,
        request.out,
        base=request.base,
        version=version,
        progress=progress,
        loaded=loaded,
        evaluate={models[0].name: evaluate} if evaluate else None,
    )


def _loaded_module(module: torch.nn.Module, example_inputs: Any, model: ModelSpec) -> LoadedModel:
    from bundler.sources.module import from_module
    from bundler.values.signature import TensorSpec

    specs = tuple(TensorSpec.parse(text) for text in model.inputs)
    return from_module(module, examples=example_inputs, inputs=specs, provenance={"source": model.source})


def _paths(files: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    return tuple(map(str, [files] if isinstance(files, (str, Path)) else files))


def convert(
    model: Any, *, layout: SignatureLayout = "keep", ops: str | Path | Sequence[str | Path] = ()
) -> ConvertedModel:
    """Convert an ONNX model with the native engine, without a bundle around it.

    Args:
        model: the path of an .onnx file, or an onnx.ModelProto.
        layout: keep the graph's NCHW inputs, or take image inputs as nhwc.
        ops: Python files with handlers of your own for operators of the graph (docs/custom-ops.md).

    Returns:
        A tf.Module: `model(**inputs)` gives a dict by output name; `.signatures`, `.save(path)`.

    Raises:
        ConversionError: with the node and the line of the model it comes from.
        SourceError, UsageError: a file of `ops` cannot be used.
    """
    import tempfile

    from bundler.converters.native import NativeConverter, plugins
    from bundler.values.converted import SERVING_DEFAULT

    files = _paths(ops)
    converter = NativeConverter(plugins.load(files, base=Path.cwd()).handlers if files else None)
    if isinstance(model, (str, Path)):
        return converter.convert({SERVING_DEFAULT: Path(model)}, layout=layout)
    import onnx

    with tempfile.TemporaryDirectory(prefix="tfbundle-") as folder:
        path = Path(folder, "model.onnx")
        onnx.save(model, str(path))
        return converter.convert({SERVING_DEFAULT: path}, layout=layout)
