"""The build pipeline: from a spec to a published bundle.

    load -> export -> convert -> saved_model -> precision -> tflite -> fast_path -> parity -> evaluate    for each model
                                                (with `optimize`, choose in place of precision and fast_path)
    compare                                            with the version in service, for each model that is to be compared
    render -> publish                                                                                 for the bundle

The order is written in `build_bundle` and `_run_stages` and nowhere else. Each stage is a function from values to a
value, and none of them changes the bundle before `publish`. Importing this module imports neither torch, TensorFlow nor
ONNX: the stages do when they run.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bundler import adapters
from bundler.bundle.adoption import Adopted
from bundler.bundle.labels import merge_serving
from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import Manifest, Record, tool_versions
from bundler.bundle.staging import Staging
from bundler.converters import Converter
from bundler.converters.native.plugins import Extension
from bundler.errors import TfbundleError, UsageError
from bundler.export.stage import export
from bundler.graph.quantized_source import comes_quantized
from bundler.process import environment, garbage, interrupts
from bundler.process.clock import now_text, records_times
from bundler.process.extras import require
from bundler.render.parts import render_context, render_parts
from bundler.render.tf_serving import server_config
from bundler.saved_model.summarize import GraphSummary, example_methods, methods, summarize
from bundler.saved_model.warmup import write_warmup
from bundler.saved_model.write import replace_saved_model, write
from bundler.sources import LoadedModel, load, require_packages
from bundler.spec.build_options import BuildOptions
from bundler.tflite import Outcome, Processes, RejectedVariant, VariantResult, make_variants
from bundler.validation import against, padding, parity
from bundler.validation.bounds import comparison_error
from bundler.validation.bundle import Bundle
from bundler.validation.choice import Choice
from bundler.validation.contest import Contest
from bundler.validation.fast_path import FastPathBuild, FastPathOutcome
from bundler.validation.golden import make_golden
from bundler.validation.lower_precision import Forms, GoldenData, Workshop
from bundler.validation.precision import Subject, forms_error
from bundler.validation.report import ParityReport
from bundler.validation.request import check_models
from bundler.validation.target import image_notices
from bundler.validation.tolerance import Tolerance, choose_tolerance
from bundler.validation.unsafe import unsafe_parts
from bundler.values.addresses import StoreAddress, is_remote, lost_address
from bundler.values.converted import ConvertedModel
from bundler.values.exported import ExportedSignature, Offloadable
from bundler.values.fixed_dims import FixedDims
from bundler.values.portable_paths import PortablePaths
from bundler.values.reference import ReferenceOutputs
from bundler.values.signature import Signature, TensorSpec
from serving.config.mixed_precision import without_verdict
from serving.extras import PACKAGES
from serving.quiet import quiet_tensorflow

if TYPE_CHECKING:
    import torch
    from typing_extensions import Unpack

    from bundler.converters.native.registry import HandlerTable
    from bundler.spec.bundle_spec import BundleSpec, FastPathForm, ModelSpec, ServingSpec, SignatureLayout
    from bundler.spec.request import BuildRequest

Stage = Literal[
    "load", "export", "explain", "convert", "saved_model", "precision", "tflite", "fast_path", "choose", "parity", "evaluate",
    "compare", "render", "publish",
]


@dataclass(frozen=True)
class StageEvent:
    """The start or the end of a stage, or of a part of a stage.

    Attributes:
        model: name of the model; empty for the stages of the whole bundle.
        seconds: how long it took; 0 for `started`.
        part: the part of the stage, such as a TFLite variant; empty for the stage itself.
    """

    model: str
    stage: Stage
    status: Literal["started", "finished", "failed"]
    seconds: float = 0.0
    part: str = ""


class BuildKeywords(BuildOptions, total=False):
    """The options of `build`: those of the model, and two that only Python or the whole bundle has."""

    adopt: bool
    """Take in the versions of a model repository of TensorFlow Serving that is in the bundle's folder."""

    dynamic_shapes: Any
    """A module's dynamic dims in the form that torch.export.export takes, instead of `inputs`."""


Progress = Callable[[StageEvent], None]
Evaluate = Callable[["BuiltModel"], Mapping[str, Any]]


@dataclass(frozen=True)
class BuiltModel:
    """The argument of an `evaluate` function: a model's artifacts before they are published.

    Attributes:
        saved_model: folder of the SavedModel.
        tflite: file of each variant.
        reference: PyTorch's serving_default: arrays by input name to arrays by output name.
    """

    saved_model: Path
    tflite: Mapping[str, Path]
    reference: Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Chosen:
    """What the choice of a form by measurement means for the bundle.

    Attributes:
        model: the keys of the model's section that serve the form.
        serving: the keys of the section `serving` that serve it.
        notices: which form is served, and why others are not.
    """

    model: Mapping[str, Any]
    serving: Mapping[str, Any]
    notices: tuple[str, ...]

    @classmethod
    def of(cls, choice: Choice, model: str) -> Chosen:
        """Return what a choice means for the bundle that has the model."""
        return cls(choice.model, choice.serving, tuple(choice.notices(model)))


@dataclass(frozen=True)
class ModelBuild:
    """The result of building one model.

    Attributes:
        model: its name.
        version: number of the new version.
        record: what bundle.json says about that version.
        notices: what the user should know, one sentence each.
        rejected: the requested TFLite variants that the bundle does not have.
        missing: why requested forms in lower precision, which a server would prefer, are missing.
        choice: the form that was chosen by measurement, with `optimize`.
    """

    model: str
    version: int
    record: Record
    notices: tuple[str, ...]
    rejected: tuple[RejectedVariant, ...]
    missing: tuple[TfbundleError, ...] = ()
    choice: Chosen | None = None


@dataclass(frozen=True)
class Target:
    """Where the artifacts of one model go.

    Attributes:
        spec: the model's section of the spec.
        version: number of the new version.
        base: folder that relative paths of the spec start from.
        layout: layout of the staging folder.
        work: scratch folder; it is not published.
        is_new: whether the version is new; otherwise the bundle has it already, with the same artifacts.
    """

    spec: ModelSpec
    version: int
    base: Path
    layout: BundleLayout
    work: Path
    is_new: bool = field(default=True, kw_only=True)

    @property
    def name(self) -> str:
        """The name that the model is served under."""
        return self.spec.name

    @property
    def saved_model(self) -> Path:
        """Folder of the SavedModel."""
        return self.layout.version_dir(self.name, self.version)


@dataclass(frozen=True)
class ModelTask(Target):
    """One model to build.

    Attributes:
        extension: the handlers of the user's files and of installed packages, if there are any.
        serving: how the bundle is served.
        is_only: whether the build has no other model, so that flags of the whole server may be chosen for it.
    """

    converter: Converter
    extension: Extension | None
    fast_path: FastPathForm | None
    serving: ServingSpec
    is_only: bool = True

    @property
    def max_rows(self) -> int | None:
        """The most rows that a batching server takes in one request; None without batching."""
        return self.serving.max_batch_size if self.serving.batching else None

    @property
    def mixed_precision(self) -> bool:
        """Whether the server's flag --mixed_precision is to be judged."""
        return self.serving.mixed_precision is not None

    @property
    def has_lower_precision(self) -> bool:
        """Whether forms in lower precision are requested; `optimize` makes its own."""
        if self.spec.optimize:
            return False
        return self.mixed_precision or self.spec.precision != "float32"

    @property
    def handlers(self) -> HandlerTable | None:
        """The user's handlers and those of installed packages."""
        return self.extension.handlers if self.extension else None


@dataclass(frozen=True)
class _Served:
    """The part of a converted model that is needed once it is on disk."""

    signatures: Mapping[str, Signature]
    permutations: Mapping[str, tuple[int, ...]]
    methods: Mapping[str, str]


@dataclass(frozen=True)
class _Proof:
    """The outcome of the parity stage. `largest_batch` is the number of rows of the largest warm-up record."""

    report: ParityReport
    notices: tuple[str, ...]
    largest_batch: int


class _StageTimes:
    """A `Progress` that records how long each finished stage took and passes every event on."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.seconds: dict[str, float] = {}

    def __call__(self, event: StageEvent) -> None:
        if event.status == "finished" and not event.part:
            self.seconds[event.stage] = event.seconds
        self._progress(event)


@garbage.collected_seldom()
def build_bundle(
    spec: BundleSpec,
    out: Path,
    *,
    base: Path,
    version: int | None = None,
    progress: Progress | None = None,
    loaded: Mapping[str, LoadedModel] | None = None,
    evaluate: Mapping[str, Evaluate] | None = None,
    adopt: bool = False,
) -> Bundle:
    """Build every model of the spec as a new version in the bundle at `out`.

    Args:
        spec: the models, and the settings for serving them.
        out: the bundle's folder.
        base: folder that relative paths of the spec start from.
        version: number of the new versions; None: the next free number of each model.
        progress: called when a stage starts or ends.
        loaded: models that are in memory already, by name.
        evaluate: functions that measure a built model, by name; their results are recorded in bundle.json.
        adopt: whether to take in the versions of a model repository of TensorFlow Serving at `out`.

    Raises:
        VariantsError: some TFLite variants could not be made or are below their gate; the bundle was published without them.
        ComparisonError: a model is worse than its version in service; the bundle is unchanged.
        TfbundleError: a stage failed; the bundle is unchanged.
    """
    if not spec.models:
        raise UsageError("There is no model to build.", fix="add one under 'models' in bundle.yaml", code="TFB1103")
    report, loaded, evaluate = progress or _ignore, loaded or {}, evaluate or {}
    converters = check_models(spec, base, loaded=loaded)
    with Staging(out, adopts=adopt) as staging:
        adopted = staging.adopt() if adopt else ()
        targets = plan(spec, staging, {model.name: base for model in spec.models}, version, adopted=adopted)
        tasks = [make_task(spec, target, converters[target.name], is_only=len(spec.models) == 1) for target in targets]
        builds = [build_model(task, report, loaded.get(task.name), evaluate.get(task.name)) for task in tasks]
        return publish_builds(spec, staging, tasks, builds, report, adopted=adopted)


def plan(
    spec: BundleSpec,
    staging: Staging,
    bases: Mapping[str, Path],
    version: int | None = None,
    *,
    adopted: Sequence[Adopted] = (),
) -> list[Target]:
    """Return where the artifacts of each model go, in the order of the spec.

    Args:
        spec: the models, and the settings for serving them.
        staging: the build's private folder.
        bases: by model, the folder that relative paths of its section start from.
        version: number of the new versions; None: the next free number of each model.
        adopted: the versions that were taken in.

    Raises:
        PublishError: the version exists.
        SpecError: a label or version in the serving section will not exist, which is told before minutes of work.
    """
    targets = [
        Target(model, staging.next_version(model.name, version), bases[model.name], staging.layout, staging.work)
        for model in spec.models
    ]
    manifest, _ = _merge_manifest(staging.manifest, spec, bases, adopted)
    for target in targets:
        manifest = manifest.with_version(target.name, target.version, {"signatures": {}})
    server_config(render_context("bundle", manifest))
    return targets


def publish_builds(
    spec: BundleSpec,
    staging: Staging,
    targets: Sequence[Target],
    builds: Sequence[ModelBuild],
    progress: Progress,
    *,
    adopted: Sequence[Adopted] = (),
    failures: Mapping[str, TfbundleError] | None = None,
) -> Bundle:
    """Compare the built models with their versions in service, write the generated files, and publish everything at once.

    Args:
        spec: the built models, and the settings for serving them.
        staging: the build's private folder, with the artifacts of the models.
        targets: where the artifacts of each model are.
        builds: the result of each model, in the same order.
        progress: called when a stage starts or ends.
        adopted: the versions that were taken in.
        failures: why further models could not be built, by name, for the report.

    Raises:
        VariantsError, ComparisonError, TfbundleError: as `build_bundle` does.
    """
    bases = {target.name: target.base for target in targets}
    manifest, label_notices = _merge_manifest(staging.manifest, spec, bases, adopted)
    in_service = _in_service(staging.manifest or manifest, spec)
    manifest = _compare_with(in_service, with_builds(manifest, spec, builds), targets, staging, progress)
    new = {target.name: target.version for target in targets if target.is_new}
    server_notices = image_notices(manifest.spec["docker"], staging.layout, new)
    with timed(progress, "", "render"):
        render_parts(staging, manifest, failures=failures)
    with timed(progress, "", "publish"):
        published = staging.publish(manifest, label_notices)
    notices = [*server_notices, *_notices(published.manifest, builds, in_service), *published.notices]
    bundle = Bundle(staging.bundle, published.manifest, tuple(notices))
    return _complete(builds, bundle)


def _in_service(manifest: Manifest, spec: BundleSpec) -> dict[str, int | None]:
    """Return the version that each model is to be compared with; None if the model has no version yet."""
    wanted = {model.name: model.against.version for model in spec.models if model.against.version}
    return {name: against.in_service(manifest, name, version) for name, version in wanted.items()}


def _compare_with(
    in_service: Mapping[str, int | None], manifest: Manifest, tasks: Sequence[Target], staging: Staging, progress: Progress
) -> Manifest:
    """Compare new versions with those in service, and return the manifest with the comparisons.

    Raises:
        ComparisonError: one of them is worse than its bounds allow; the error has the report of the refused build.
    """
    results = {}
    for task in tasks:
        number = in_service.get(task.name)
        if number is None or not task.is_new:
            continue
        records = manifest.models[task.name]
        old = against.Version(number, staging.home(task.name, number), records[number])
        new = against.Version(task.version, task.layout, records[task.version])
        work = task.work / f"{task.name}-compare"
        with timed(progress, task.name, "compare"):
            compared = against.compare_versions(task.spec, (old, new), manifest, work, task.base)
        results[task.name] = compared, task.spec.against
        record = {**records[task.version], "against": compared.to_json(task.spec.against)}
        manifest = manifest.with_version(task.name, task.version, record)
    if error := comparison_error(results):
        render_parts(staging, manifest, ("report",))
        error.report = staging.layout.report.read_text("utf-8")
        raise error
    return manifest


def with_builds(manifest: Manifest, spec: BundleSpec, builds: Sequence[ModelBuild]) -> Manifest:
    """Return the manifest with the new versions, and the settings that serve what was chosen by measurement.

    The settings stand there as if the spec had had them; those of the whole server are chosen only in a build of one model.
    """
    for build in builds:
        manifest = manifest.with_version(build.model, build.version, build.record)
    choices = {build.model: build.choice for build in builds if build.choice is not None}
    if not choices:
        return manifest
    models = [
        {**model, "optimize": None, **choices[model["name"]].model} if model["name"] in choices else model
        for model in manifest.spec["models"]
    ]
    serving = dict(manifest.spec["serving"])
    if len(spec.models) == 1:
        chosen = choices[spec.models[0].name].serving
        serving |= {key: value for key, value in chosen.items() if key != "clients" or key not in spec.stated_serving}
    return replace(manifest, spec={**manifest.spec, "models": models, "serving": serving})


def _complete(builds: Sequence[ModelBuild], bundle: Bundle) -> Bundle:
    """Return the published bundle, or raise VariantsError if it lacks something that was requested."""
    if any(build.rejected or build.missing for build in builds):
        raise forms_error({b.model: b.rejected for b in builds}, {b.model: b.missing for b in builds}, bundle)
    return bundle


def _notices(manifest: Manifest, builds: Sequence[ModelBuild], in_service: Mapping[str, int | None]) -> Iterator[str]:
    """Yield what the user should know about the builds."""
    for build in builds:
        yield from build.notices
    yield from _flag_notices(manifest, builds)
    yield from (f"{name}: there is no version to compare with yet." for name, version in in_service.items() if version is None)


def _flag_notices(manifest: Manifest, builds: Sequence[ModelBuild]) -> Iterator[str]:
    """Yield what was chosen, and why the flag --mixed_precision is left out, for models that were not measured with it."""
    for build in builds:
        yield from build.choice.notices if build.choice else ()
    content = manifest.content()
    measured = {build.model for build in builds}
    unknown = [name for name in without_verdict(content) if name not in measured]
    if content["spec"]["serving"].get("mixed_precision") and unknown:
        yield f"--mixed_precision is left out until these models are built again, to measure it: {', '.join(unknown)}."


def make_task(
    spec: BundleSpec, target: Target, converter: tuple[Converter, Extension | None], *, is_only: bool
) -> ModelTask:
    """Return the task of building the model of a target.

    Args:
        spec: has the settings of serving.
        target: the model, and where its artifacts go.
        converter: the model's converter and handlers (`bundler.validation.request.find_converter`).
        is_only: whether the bundle's build has no other model.
    """
    return ModelTask(
        target.spec,
        target.version,
        target.base,
        target.layout,
        target.work,
        *converter,
        fast_path=None if target.spec.optimize else spec.fast_path_of(target.spec),
        serving=spec.serving,
        is_only=is_only,
    )


def build_model(
    task: ModelTask, progress: Progress, loaded: LoadedModel | None = None, evaluate: Evaluate | None = None
) -> ModelBuild:
    """Take one model through its stages.

    Args:
        task: the model, and where its artifacts go.
        progress: called when a stage starts or ends.
        loaded: the model, if the caller has it in memory already.
        evaluate: measures the built model; its result is recorded.

    Raises:
        TfbundleError: a stage failed.
    """
    if not task.spec.tflite.wanted:
        return _run_stages(task, progress, loaded, evaluate, None)
    work = task.work / f"{task.name}-tflite"
    work.mkdir()

    def report(variant: str, made: bool, seconds: float) -> None:
        progress(StageEvent(task.name, "tflite", "finished" if made else "failed", seconds, variant))

    with Processes(work, task.spec.tflite.wanted, report) as processes:
        return _run_stages(task, progress, loaded, evaluate, processes)


def _run_stages(
    task: ModelTask, progress: Progress, loaded: LoadedModel | None, evaluate: Evaluate | None, processes: Processes | None
) -> ModelBuild:
    """Take one model through its stages, in this order; `processes` make its TFLite variants, if there are any."""
    spec, times, started = task.spec, _StageTimes(progress), now_text()
    stage = partial(timed, times, task.name)
    with stage("load"):
        model = loaded or load(spec, base=task.base)
    with stage("export"):
        exported = _export(task, model)
        references = parity.run_references(exported)
        tolerance = choose_tolerance(spec.tolerance, references)
        size = _free_memory(exported, task.work, keeps_model=loaded is not None)
    with stage("convert"):
        converted = task.converter.convert({each.name: each.onnx for each in exported}, layout=spec.layout or "keep")
        derived = adapters.derive(spec, references, converted, task.base, margin=tolerance.margin)
    with stage("saved_model"):
        graph = _save(task, converted)
    outcome, forms, choice = Outcome(), Forms(), None
    if task.has_lower_precision:
        with stage("precision"):
            forms = _lower_precision(task, converted, references, derived, tolerance)
    if processes is not None:
        with stage("tflite"):
            outcome = _make_variants(task, converted, exported[0], processes)
    fast = FastPathOutcome(None, None, forms.golden_data((*references, *derived), tolerance.value))
    if spec.optimize:
        with stage("choose"):
            forms, fast, choice = _choose(task, converted, references, derived, tolerance)
    if task.fast_path:
        with stage("fast_path"):
            fast = _fast_path_build(task, converted, references[0]).make(task.fast_path, fast.golden)
    served = _Served(converted.signatures, converted.permutations, methods(task.saved_model))
    del converted
    garbage.collect_after(size)  # its functions and variables refer to each other
    with stage("parity"):
        report = _compare(task, served, references, derived, outcome.variants, fast, tolerance)
        proof = _prove(task, served, fast.golden, forms.extended(report))
    record = {
        **(_evaluation(task, evaluate, outcome.variants, exported[0], times) if evaluate else {}),
        **_model_record(task, model, served, _move_onnx_files(task, exported)),
        **_artifact_record(forms.served_graph(graph, task.saved_model), proof, outcome, fast),
        **forms.to_json(),
        **({"choice": choice.to_json()} if choice else {}),
        **_build_record(task, started, times.seconds),
    }
    notices, missing = (*proof.notices, *forms.notices(task.name)), (*forms.errors, *fast.errors)
    record, chosen = PortablePaths(task.base).value(record), Chosen.of(choice, task.name) if choice else None
    return ModelBuild(task.name, task.version, record, notices, outcome.rejected, missing, chosen)


def _export(task: ModelTask, loaded: LoadedModel) -> tuple[ExportedSignature, ...]:
    work = task.work / task.name
    work.mkdir()
    translations = task.handlers.translations() if task.handlers else None
    return export(loaded, task.spec, work, max_opset=task.converter.max_opset, translations=translations)


def _free_memory(exported: Sequence[ExportedSignature], work: Path, *, keeps_model: bool) -> int:
    """Free what nothing needs once the model has answered, so that TensorFlow's copy of the weights has room.

    Args:
        exported: the model's signatures.
        work: a folder for the weights of a large model, which leaves the memory.
        keeps_model: whether the user has it in memory, so that it stays there.

    Returns:
        The bytes of the weights.
    """
    for signature in exported:
        reference: object = signature.reference
        if not keeps_model and _data_of(signature.onnx).exists() and isinstance(reference, Offloadable):
            reference.offload_weights(work)
    size = sum(_size(each.onnx) for each in exported)
    garbage.collect_after(size)  # of what torch has traced
    return size


def _data_of(onnx: Path) -> Path:
    return onnx.with_name(f"{onnx.name}.data")


def _size(onnx: Path) -> int:
    """Return the bytes of an ONNX file with its weights."""
    return sum(file.stat().st_size for file in (onnx, _data_of(onnx)) if file.exists())


def _save(task: ModelTask, converted: ConvertedModel) -> GraphSummary:
    task.saved_model.parent.mkdir(parents=True, exist_ok=True)
    write(converted, task.saved_model)
    return summarize(task.saved_model)


def _make_variants(
    task: ModelTask, converted: ConvertedModel, exported: ExportedSignature, processes: Processes
) -> Outcome:
    folder = task.layout.tflite_dir(task.name, task.version)
    folder.mkdir(parents=True)
    outcome = make_variants(
        converted, exported, task.spec.tflite, folder, task.name, base=task.base, layout=task.spec.layout,
        processes=processes,
    )  # fmt: skip
    processes.close()  # the stages that follow need the memory
    if not outcome.variants:
        folder.rmdir()
    return outcome


def _fast_path_build(task: ModelTask, converted: ConvertedModel, reference: ReferenceOutputs) -> FastPathBuild:
    target = task.layout.fast_path_file(task.name, task.version)
    work = task.work / f"{task.name}-fast-path"
    return FastPathBuild(converted, reference, task.spec.tflite, task.saved_model, target, work, task.base)


def _choose(
    task: ModelTask,
    converted: ConvertedModel,
    references: Sequence[ReferenceOutputs],
    derived: Sequence[ReferenceOutputs],
    tolerance: Tolerance,
) -> tuple[Forms, FastPathOutcome, Choice]:
    """Make every form of the model, measure them, and return those parts that the chosen one needs."""
    assert task.spec.optimize
    work = task.work / f"{task.name}-choose"
    contest = Contest(
        task.spec.optimize,
        _workshop(task, converted, references, derived, tolerance),
        _fast_path_build(task, converted, references[0]),
        task.converter,
        converted,
        tolerance.value,
        work,
        tries_flag=task.is_only,
    )
    result = contest.run(references, derived)
    return result.forms, result.fast, result.choice


def _workshop(
    task: ModelTask,
    converted: ConvertedModel,
    references: Sequence[ReferenceOutputs],
    derived: Sequence[ReferenceOutputs],
    tolerance: Tolerance,
) -> Workshop:
    subject = Subject(task.spec.tflite, references[0].exported, references, converted.permutations, task.base)
    work = task.work / f"{task.name}-precision"
    return Workshop(task.spec, subject, derived, task.saved_model, work, tolerance.margin)


def _lower_precision(
    task: ModelTask,
    converted: ConvertedModel,
    references: Sequence[ReferenceOutputs],
    derived: Sequence[ReferenceOutputs],
    tolerance: Tolerance,
) -> Forms:
    """Build and judge the SavedModel in bfloat16, and the server's flag for the SavedModel that is then served."""
    workshop = _workshop(task, converted, references, derived, tolerance)
    lower = workshop.bfloat16(task.converter, converted) if task.spec.precision != "float32" else None
    if not task.mixed_precision:
        return Forms(lower)
    if lower is not None and lower.passed:
        return Forms(lower, workshop.flag(lower.folder, lower.cases[len(references) :]))
    return Forms(lower, workshop.flag(task.saved_model, derived))


def _compare(
    task: ModelTask,
    served: _Served,
    references: Sequence[ReferenceOutputs],
    derived: Sequence[ReferenceOutputs],
    variants: Sequence[VariantResult],
    fast: FastPathOutcome,
    tolerance: Tolerance,
) -> ParityReport:
    """Compare the artifacts with PyTorch.

    Raises:
        ParityError: an artifact differs from PyTorch by more than the tolerance.
    """
    spec = task.spec
    report = parity.check(
        references,
        task.saved_model,
        tolerance=tolerance.value,
        permutations=served.permutations,
        derived=derived,
        variants=variants,
        fast_path=fast.rows,
        engine=parity.Engine(spec.converter == "native", task.handlers),
    )
    report = replace(report, basis=tolerance.basis)
    if not report.passed:
        raise report.error(quantized=comes_quantized(spec.source, task.base))
    return report


def _prove(task: ModelTask, served: _Served, golden_data: GoldenData, report: ParityReport) -> _Proof:
    """Move the SavedModel that is served into place, and write golden data and warm-up records for it."""
    spec, layout = task.spec, task.layout
    if golden_data.saved_model is not None:
        replace_saved_model(task.saved_model, golden_data.saved_model)
    golden = make_golden(
        spec.name,
        golden_data.references,
        tolerance=golden_data.tolerance,
        permutations=served.permutations,
        max_rows=task.max_rows,
        fast_path_tolerance=golden_data.fast_path_tolerance,
    )
    file = layout.golden_file(spec.name, task.version)
    file.parent.mkdir(parents=True, exist_ok=True)
    golden.save(file)
    write_warmup(golden, spec.name, layout.warmup(spec.name, task.version), served.methods)
    notices = [f"{spec.name}, {note}" for note in report.runtime_notes]
    notices += [
        f"{part.path} does more than compute: {part.use}; it is served only with --allow_unsafe_ops."
        for part in unsafe_parts(layout, task.name, task.version)
    ]
    if task.serving.batching:
        is_on = task.serving.pad_variable_length_inputs
        notices += [f"{spec.name}, {text}" for text in padding.warnings(report.padded, is_on=is_on)]
    return _Proof(report, tuple(notices), golden.largest_batch)


def _evaluation(
    task: ModelTask, evaluate: Evaluate, variants: Sequence[VariantResult], exported: ExportedSignature, progress: Progress
) -> Record:
    files = {str(variant.variant): variant.path for variant in variants}
    with timed(progress, task.name, "evaluate"):
        return {"evaluation": dict(evaluate(BuiltModel(task.saved_model, files, exported.reference)))}


def _move_onnx_files(task: ModelTask, exported: Sequence[ExportedSignature]) -> int:
    """Move the ONNX files to their places in the staging folder; return the opset of serving_default."""
    from bundler.graph.external_data import move_with_data

    name, version = task.name, task.version
    paths = PortablePaths(task.base)
    opset = move_with_data(exported[0].onnx, task.layout.onnx_file(name, version), paths)
    for signature in exported[1:]:
        move_with_data(signature.onnx, task.layout.onnx_file(name, version, signature.name), paths)
    return opset


def _model_record(task: ModelTask, loaded: LoadedModel, served: _Served, opset: int) -> Record:
    ops = {"ops": list(task.extension.provenance)} if task.extension else {}
    return {
        "created": now_text(),
        "source": environment.without_passwords(dict(loaded.provenance) | ops),
        "converter": task.spec.converter,
        "layout": task.spec.layout or "keep",
        "permutations": {key: list(axes) for key, axes in served.permutations.items()},
        "opset": opset,
        "signatures": {key: signature.to_json() for key, signature in served.signatures.items()},
        **({"methods": kinds} if (kinds := example_methods(served.methods)) else {}),
        "fixed_dims": _fixed_dims(task, loaded).to_json(),
    }


def _build_record(task: ModelTask, started: str, seconds: Mapping[str, float]) -> Record:
    """Return how the version was built: the duration of each stage, and what its bill of materials and provenance need."""
    parameters = task.spec.model_dump(mode="json", exclude_defaults=True)
    builder = environment.ci_build()
    used = ("tfbundle", *PACKAGES["serve"], *PACKAGES["onnx"])
    build = {
        "started": started,
        "parameters": environment.without_passwords(parameters),
        "packages": environment.loaded_packages(used),
        **({"builder": builder} if builder else {}),
    }
    stages = {name: round(each, 3) for name, each in seconds.items()} if records_times() else {}
    return {"stages": stages, "build": build}


def _fixed_dims(task: ModelTask, loaded: LoadedModel) -> FixedDims:
    """Return the fixed dims of the model's inputs, and of those that further signatures state."""
    fixed = loaded.fixed_dims
    for name, signature in task.spec.methods.items():
        fixed = fixed.with_signature(name, [TensorSpec.parse(text) for text in signature.inputs])
    return fixed


def _artifact_record(graph: GraphSummary, proof: _Proof, outcome: Outcome, fast: FastPathOutcome) -> Record:
    return {
        "parity": proof.report.to_json(),
        "graph": graph.to_json(),
        "largest_batch": proof.largest_batch,
        "tflite": {variant.variant: variant.to_json() for variant in outcome.variants},
        **fast.to_json(),
        "tflite_refused": {variant.variant: variant.to_json() for variant in outcome.rejected},
    }


def _merge_manifest(
    before: Manifest | None, spec: BundleSpec, bases: Mapping[str, Path], adopted: Sequence[Adopted]
) -> tuple[Manifest, tuple[str, ...]]:
    """Return the manifest with the new spec and today's tools, and notices about labels. No path in it is absolute.

    Models of earlier builds, settings that the new spec does not mention, and promoted labels stay.
    """
    new = spec.model_dump(mode="json")
    portable = {base: PortablePaths(base) for base in bases.values()}
    new["models"] = [portable[bases[model["name"]]].value(model) for model in new["models"]]
    if before is None:
        return _with_adopted(Manifest(new, tools=tool_versions()), adopted), ()
    built = {model.name for model in spec.models}
    others = [model for model in before.spec["models"] if model["name"] not in built]
    unset = {key: value for key, value in before.spec.items() if key not in spec.model_fields_set}
    merged = {**new, **unset, "models": [*others, *new["models"]]}
    merged["serving"], notices = merge_serving(before, merged["serving"], spec.stated_serving)
    return _with_adopted(replace(before, spec=merged, tools=tool_versions()), adopted), notices


def _with_adopted(manifest: Manifest, adopted: Sequence[Adopted]) -> Manifest:
    for version in adopted:
        manifest = manifest.with_version(version.model, version.number, version.record)
    return manifest


@contextmanager
def timed(progress: Progress, model: str, stage: Stage) -> Iterator[None]:
    """Report the start and the end of a stage, with its duration. An interruption stays one, whatever a library makes of it."""
    progress(StageEvent(model, stage, "started"))
    start = time.perf_counter()
    status: Literal["finished", "failed"] = "failed"
    # What comes while versions are being published is dealt with by the journal, and must not be raised after it.
    watched = nullcontext() if stage == "publish" else interrupts.watched()
    try:
        with watched:
            yield
        status = "finished"
    finally:
        progress(StageEvent(model, stage, status, time.perf_counter() - start))


def _ignore(event: StageEvent) -> None:
    pass


def stage_count(spec: BundleSpec, evaluated: int = 0) -> int:
    """Return how many stages a build of the spec has, `evaluated` of whose models have an evaluate function."""
    lower = [model.precision != "float32" or spec.serving.mixed_precision is not None for model in spec.models]
    pairs = zip(spec.models, lower, strict=True)
    forms = [1 if model.optimize else spec.has_fast_path(model) + is_lower for model, is_lower in pairs]
    compared = sum(model.against.version is not None for model in spec.models)
    return sum(5 + bool(model.tflite.wanted) for model in spec.models) + sum(forms) + evaluated + compared + 2


def build(
    source: str | Path | torch.nn.Module,
    example_inputs: Any = None,
    out: str | Path | None = None,
    *,
    version: int | None = None,
    progress: Progress | None = None,
    evaluate: Evaluate | None = None,
    **options: Unpack[BuildKeywords],
) -> Bundle:
    """Build one model, or every model of a bundle.yaml, as a new version in a bundle.

    Args:
        source: a module, or what the command line takes: file.py:callable, .pt2, .onnx, .pt, .pth,
            .safetensors, timm:NAME, hf:NAME_OR_PATH, or the path of a bundle.yaml.
        example_inputs: for a module: a tensor or array, a tuple of them, or a dict by input name.
        out: folder of the bundle, or an address such as s3://bucket/digits, whose bundle is returned as a local copy without the
            files of earlier versions; default: dist/<name>.
        version: number of the new version; default: the next free one.
        progress: called as stages begin and end.
        evaluate: measures the built model; its result is recorded in bundle.json.
        options: `adopt` takes in the versions of a model repository of TensorFlow Serving at `out`, as --adopt does.
            `dynamic_shapes` gives a module's dynamic dims in the form that torch.export.export takes, instead of `inputs`;
            without either, only the batch is dynamic. All others are options of the model
            (`bundler.spec.build_options.BuildOptions`, docs/options.md), such as `name`, `inputs`, `tflite`, `ops` and
            `tolerance`, which are not allowed with a bundle.yaml.

    Raises:
        VariantsError: if TFLite variants, or a form in bfloat16, could not be made or are below their gate; the bundle was
            published without them, and is the error's `bundle`.
        TfbundleError: if a stage failed (see `bundler.errors`); the bundle is as it was.
    """
    from bundler.spec.request import make_request

    quiet_tensorflow()
    adopt, dynamic_shapes = options.pop("adopt", False), options.pop("dynamic_shapes", None)
    text = str(source) if isinstance(source, (str, Path)) else f"python:{type(source).__qualname__}"
    is_address = out is not None and (is_remote(str(out)) or lost_address(out) is not None)
    request = make_request(text, Path(out) if out and not is_address else None, _given(options))
    models = request.spec.models
    loaded = _loaded_models(source, example_inputs, models, dynamic_shapes)
    if evaluate is not None and len(models) != 1:
        what = f"evaluate works with only one model, but bundle.yaml has {len(models)}."
        raise UsageError(what, where=text, fix="build the models one by one", code="TFB1001")
    measures = {models[0].name: evaluate} if evaluate else None
    with _out_folder(str(lost_address(str(out)) or out) if is_address else None, request, adopts=adopt) as folder:
        return build_bundle(
            request.spec, folder, base=request.base, version=version, progress=progress, loaded=loaded, evaluate=measures,
            adopt=adopt,
        )  # fmt: skip


@contextmanager
def _out_folder(address: str | None, request: BuildRequest, *, adopts: bool) -> Iterator[Path]:
    """Return a context with the folder to build in. What a build changes there is uploaded to the address, if there is one."""
    if address is None:
        yield request.out
        return
    from bundler.delivery.stores.mirror import writing

    also = against.files_in_service(request.spec)
    with writing(StoreAddress.parse(address), may_be_new=True, adopts=adopts, also=also) as mirror:
        yield mirror.root


def _with_keywords(function: Callable[..., Bundle]) -> inspect.Signature:
    """Return the signature of `build` with each of its options as a keyword, for help() and editors."""
    own = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=..., annotation=annotation)
        for fields in (BuildKeywords.__annotations__, BuildOptions.__annotations__)
        for name, annotation in fields.items()
    ]
    return inspect.Signature(list({p.name: p for p in (*own, *options)}.values()), return_annotation="Bundle")


build.__signature__ = _with_keywords(build)  # type: ignore[attr-defined]


def _given(options: BuildKeywords) -> dict[str, Any]:
    """Return the options that are set: an empty name, tflite, ops or gate counts as not given."""
    given = {key: value for key, value in options.items() if value or key not in ("name", "tflite", "ops", "gate")}
    if isinstance(given.get("ops"), (str, Path, Sequence)):
        given["ops"] = _paths(options["ops"])
    return given


def _loaded_models(
    source: str | Path | torch.nn.Module, example_inputs: Any, models: Sequence[ModelSpec], dynamic_shapes: Any
) -> dict[str, LoadedModel]:
    """Return the model of a module by its name; a source is loaded later, by the build."""
    if not isinstance(source, (str, Path)):
        if dynamic_shapes is not None and (example_inputs is None or models[0].inputs):
            raise UsageError(
                "dynamic_shapes needs example_inputs, and takes the place of inputs.",
                fix="give example_inputs and dynamic_shapes, or only inputs=('x=float32[batch,3]',)",
                code="TFB1001",
            )
        return {models[0].name: _loaded_module(source, example_inputs, models[0], dynamic_shapes)}
    if dynamic_shapes is not None:
        raise UsageError(
            "dynamic_shapes work only with a module.",
            where=str(source),
            fix="name the dims: inputs=('x=float32[batch,seq]',)",
            code="TFB1001",
        )
    if example_inputs is not None:
        raise UsageError(
            "example_inputs work only with a module; a source provides its own.",
            where=str(source),
            fix="return (module, example_inputs) from the callable, or give inputs=('x=float32[batch,3]',)",
            code="TFB1001",
        )
    return {}


def _loaded_module(
    module: torch.nn.Module, example_inputs: Any, model: ModelSpec, dynamic_shapes: Any
) -> LoadedModel:
    require_packages(model.source)
    from bundler.sources.module import from_module
    from bundler.values.signature import TensorSpec

    specs = tuple(TensorSpec.parse(text) for text in model.inputs)
    return from_module(
        module, examples=example_inputs, inputs=specs, provenance={"source": model.source}, dynamic_shapes=dynamic_shapes
    )


def _paths(files: str | Path | Sequence[str | Path]) -> tuple[str, ...]:
    return tuple(map(str, [files] if isinstance(files, (str, Path)) else files))


def convert(
    model: Any, *, layout: SignatureLayout = "keep", ops: str | Path | Sequence[str | Path] = ()
) -> ConvertedModel:
    """Convert an ONNX model with the native engine, without building a bundle.

    Args:
        model: the path of an .onnx file, or an onnx.ModelProto.
        layout: keep the graph's NCHW inputs, or take image inputs as nhwc.
        ops: Python files with your own handlers for operators of the graph (docs/custom-ops.md).

    Returns:
        A tf.Module: `model(**inputs)` returns a dict by output name; it has `.signatures` and `.save(path)`.

    Raises:
        ConversionError: if a node cannot be converted; the message names it and the line of the model it comes from.
        SourceError: if a file of `ops` does not exist or cannot be imported.
        UsageError: if `layout` or a handler of `ops` is wrong.
        MissingExtraError: if the packages of `tfbundle[onnx]` are not installed.
    """
    require("onnx", "A conversion of ONNX")
    import tempfile

    from bundler.converters.native import NativeConverter, plugins
    from bundler.spec.request import check_options
    from bundler.values.converted import SERVING_DEFAULT

    quiet_tensorflow()
    check_options({"layout": layout})
    files = _paths(ops)
    converter = NativeConverter(plugins.load(files, base=Path.cwd()).handlers if files else None)
    if isinstance(model, (str, Path)):
        return converter.convert({SERVING_DEFAULT: Path(model)}, layout=layout)
    import onnx

    with tempfile.TemporaryDirectory(prefix="tfbundle-") as folder:
        path = Path(folder, "model.onnx")
        onnx.save(model, str(path))
        return converter.convert({SERVING_DEFAULT: path}, layout=layout)
