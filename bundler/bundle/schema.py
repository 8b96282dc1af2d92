"""The schema of bundle.json, which is checked once when a bundle is opened.

A missing or malformed key is an error here, never an exception of the command that needs it or a gap in the report. Keys
that this version does not know are kept in the records of versions, the spec, the promotions and everything below them,
because a later version may record more. They are refused where rewriting the file would lose them: at the top, in a
model's entry and in a file's entry. A change that readers must understand gets another `schema`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from bundler.bundle.layout import LARGEST_VERSION, check_model_name
from bundler.errors import UsageError, VerifyError

INFINITE = float("inf")
_LARGEST_SIZE = 2**63 - 1
_LONGEST_PATH = 4096  # PATH_MAX of Linux
_SHOWN_PROBLEMS = 8
_SHOWN_KEY = 60  # characters of a key in a message
_NOT_FINITE = ("inf", "-inf", "nan")


def _model_name(name: str) -> str:
    try:
        return check_model_name(name)
    except UsageError as exc:
        raise ValueError(f"{name[:_SHOWN_KEY]!r} cannot be the name of a model; {exc.fix}") from exc


def _path(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"the path {text[:_SHOWN_KEY]!r} leads out of the bundle")
    if str(path) != text or not path.parts or "\0" in text or len(text) > _LONGEST_PATH:
        raise ValueError(f"{text[:_SHOWN_KEY]!r} is not a path that tfbundle writes")
    return text


def _file_name(text: str) -> str:
    if "/" in _path(text):
        raise ValueError(f"{text[:_SHOWN_KEY]!r} is not the name of a file")
    return text


def _number(value: object) -> object:
    """Return a number that is not finite for its text in bundle.json; other values are checked by their type."""
    return float(value) if isinstance(value, str) and value in _NOT_FINITE else value


ModelName = Annotated[str, AfterValidator(_model_name)]
RelativePath = Annotated[str, AfterValidator(_path)]
FileName = Annotated[str, AfterValidator(_file_name)]
Number = Annotated[float, BeforeValidator(_number)]
"""A float; JSON has no infinity and no NaN, so bundle.json has their names."""
Count = Annotated[int, Field(ge=0, le=_LARGEST_SIZE)]
Version = Annotated[int, Field(ge=1, le=LARGEST_VERSION)]
Port = Annotated[int, Field(ge=1, le=65535)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}\z")]
_ImageSide = Annotated[int, Field(ge=1, le=65535)]


class _Record(BaseModel):
    """A part of bundle.json, read from JSON without conversions: text is not a number. Unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, defer_build=True)  # one schema is built, on first use


class TensorRecord(_Record):
    """An input or output of a signature; a dim is a size, the name of a dynamic axis, or None."""

    name: str
    dtype: str
    dims: tuple[Count | str | None, ...]


class SignatureRecord(_Record):
    """The inputs and outputs of a signature."""

    inputs: tuple[TensorRecord, ...]
    outputs: tuple[TensorRecord, ...]


class DeviationRecord(_Record):
    """The difference in one output of one call (`serving.golden.compare.Difference`); errors that are not finite are inf."""

    draw: str
    output: str
    max_abs: Number = INFINITE
    max_rel: Number = INFINITE
    problem: str | None = None


class ComparisonRecord(DeviationRecord):
    """One comparison with PyTorch: an output of one call in one runtime."""

    signature: str
    runtime: str
    gated: bool
    passed: bool


class ParitySummaryRecord(_Record):
    """The largest differences of one output over all draws in one runtime."""

    runtime: str
    signature: str
    output: str
    draws: Count
    max_abs: Number = INFINITE
    max_rel: Number = INFINITE
    worst_draw: str
    verdict: Literal["passed", "FAILED", "reported"]


class PaddedRecord(_Record):
    """What a server's padding of shorter requests does to a signature's answers; `changes` tells by output what is wrong."""

    inputs: tuple[str, ...]
    changes: dict[str, str] = {}


class ParityRecord(_Record):
    """The comparison of a version with its reference.

    Attributes:
        reference: what computed the reference outputs.
        left_out: what was not compared, in sentences.
        runtime_notes: those of them that say where ONNX Runtime could not confirm the reference.
        padded: the signatures with inputs of varying length.
    """

    tolerance: Number
    tolerance_basis: str = ""
    passed: bool
    summary: tuple[ParitySummaryRecord, ...]
    results: tuple[ComparisonRecord, ...]
    left_out: tuple[str, ...] = ()
    reference: str = "PyTorch"
    runtime_notes: tuple[str, ...] = ()
    padded: dict[str, PaddedRecord] = {}


class GraphRecord(_Record):
    """The graph of a SavedModel; `ops` counts nodes by operator."""

    ops: dict[str, Count]
    transposes: Count
    weight_bytes: Count
    nodes: Count


class AgreementRecord(_Record):
    """How closely one output of a variant agrees with PyTorch's; measures that are not finite or do not apply are None."""

    sqnr_db: Number | None = None
    cosine: Number | None = None
    top1: Number | None = None


class AccuracyRecord(_Record):
    """Agreement of a variant with PyTorch, by output."""

    outputs: dict[str, AgreementRecord] = {}


class DataFilesRecord(_Record):
    """The files that data were read from: their number, and the sha256 of the file or of the list (`bundler.values.digests`)."""

    files: Count | None = None
    files_sha256: Sha256 | None = None


class MetricRecord(DataFilesRecord):
    """The results of the evaluate function for a variant and for PyTorch, and the lowest value that passes.

    `inputs_sha256` is of the inputs of all `calls`, `files_sha256` of the function's .py file.
    """

    function: str
    inputs_sha256: Sha256 | None = None
    calls: Count | None = None
    value: Number
    pytorch: Number
    floor: Number


class DelegationRecord(_Record):
    """The share of nodes that XNNPACK runs, 0 to 1."""

    share: Number


class JudgedRecord(_Record):
    """A variant, published or rejected, whose accuracy may have been measured."""

    accuracy: AccuracyRecord | None = None
    evaluation: MetricRecord | None = None


class LayerLossRecord(_Record):
    """The signal-to-noise ratio of the model when only this layer is int8."""

    layer: str
    sqnr_db: Number = INFINITE


class RejectedRecord(JudgedRecord):
    """A variant that was requested but not published; `mix` lists the layers that must stay in float for it to pass."""

    reason: str
    below_gate: bool = False
    layers: tuple[LayerLossRecord, ...] = ()
    mix: tuple[str, ...] | None = None


FastPathForm = Literal["float32", "float16", "int8"]


class FastPathRecord(JudgedRecord):
    """The model.tflite next to the SavedModel; `latency_ms` is by number of threads, and `form` what it computes in."""

    file: FileName
    form: FastPathForm = "float32"
    size_bytes: Count
    latency_ms: dict[int, Number]
    operators: dict[str, Count]
    delegation: DelegationRecord | None = None
    notes: tuple[str, ...] = ()


class RejectedFastPathRecord(RejectedRecord):
    """A model.tflite that was requested in lower precision but not published."""

    form: FastPathForm


class CalibrationRecord(DataFilesRecord):
    """The facts about calibration data that commands read after the build; `sha256` is of the samples."""

    source: str
    samples: Count | None = None
    sha256: Sha256 | None = None


def _calibration(facts: dict[str, Any]) -> dict[str, Any]:
    CalibrationRecord.model_validate(facts)
    return facts


class VariantRecord(JudgedRecord):
    """One .tflite file; `latency_ms` is by number of threads."""

    file: FileName
    size_bytes: Count
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    latency_ms: dict[int, Number]
    error: tuple[DeviationRecord, ...]
    operators: dict[str, Count]
    float_operators: dict[str, Count]
    calibration: Annotated[dict[str, Any], AfterValidator(_calibration)] | None = None
    notes: tuple[str, ...] = ()
    float_layers: tuple[str, ...] = ()
    delegation: DelegationRecord | None = None
    load_ms: Number | None = None
    model_dtypes: dict[str, Annotated[str, Field(pattern="^[a-z0-9]+$")]] = {}
    pixels: str | None = None


class PrecisionRecord(JudgedRecord):
    """A form of the SavedModel in bfloat16: its verdict; latency by batch size and size of `float32` and `bfloat16`."""

    dtype: str
    passed: bool
    reason: str = ""
    below_gate: bool = False
    latency_ms: dict[str, dict[str, Number]] = {}
    size_bytes: dict[str, Count] = {}
    instructions: tuple[str, ...] = ()


class ChoiceAccuracyRecord(_Record):
    """How well a form answers, as its gate measured."""

    max_rel: Number | None = None
    sqnr_db: Number | None = None


class ChoiceRowRecord(_Record):
    """A measured form of a build with `optimize`; `gain` and `speedup` are multiples of the float32 SavedModel without flags."""

    form: str
    setting: str
    pareto: bool
    size_bytes: Count
    accuracy: ChoiceAccuracyRecord = ChoiceAccuracyRecord()
    problem: str = ""
    clients: Count | None = None
    per_second: Number | None = None
    p99_ms: Number | None = None
    alone_ms: Number | None = None
    gain: Number | None = None
    speedup: Number | None = None


class ChoiceRecord(_Record):
    """The choice of the form that is served (`bundler.validation.choice.Choice`)."""

    goal: Literal["latency", "throughput", "size"]
    winner: str
    rows: tuple[ChoiceRowRecord, ...] = ()
    left_out: dict[str, str] = {}
    problem: str = ""


class PairRecord(_Record):
    """A figure of the version in service and of the new one."""

    before: Number
    after: Number


class ComparedLineRecord(_Record):
    """One compared quantity as text; `kept` is None without a bound."""

    name: str
    before: str
    after: str
    bound: str = ""
    kept: bool | None = None


class SharedAnswersRecord(_Record):
    """The share of rows that both versions answer alike, by output."""

    rows: Count
    bound: Number | None = None
    outputs: dict[str, Number]


class AgainstRecord(_Record):
    """The comparison with the version that was in service (`bundler.validation.bounds.Compared`)."""

    version: Version
    label: str | None = None
    passed: bool
    complaints: tuple[str, ...] = ()
    function: str = ""
    lines: tuple[ComparedLineRecord, ...] = ()
    agreement: dict[Literal["labelled", "golden"], SharedAnswersRecord] = {}
    metric: PairRecord | None = None
    latency_ms: PairRecord | None = None
    size_bytes: PairRecord


class EvaluationRecord(_Record):
    """The results of an `evaluate` function: one figure per runtime, or one per runtime and entry of `data`."""

    metric: str
    data: str | tuple[str, ...]
    samples: Annotated[Count, Field(strict=False)]
    results: dict[str, tuple[Number, ...]]

    @field_validator("results", mode="before")
    @classmethod
    def _as_rows(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {name: tuple(row) if isinstance(row, (list, tuple)) else (row,) for name, row in value.items()}

    @model_validator(mode="after")
    def _one_figure_per_entry(self) -> EvaluationRecord:
        entries = 1 if isinstance(self.data, str) else len(self.data)
        for name, row in self.results.items():
            if len(row) != entries:
                raise ValueError(f"{name}: expected one figure per entry of 'data', so {entries}, but got {len(row)}")
        return self


class FixedDimRecord(_Record):
    """A dim of an input that has one size (`bundler.values.fixed_dims.FixedDim`)."""

    input: str
    axis: Count
    size: Count
    why: str


class FixedDimsRecord(_Record):
    """The fixed dims of a model's inputs (`bundler.values.fixed_dims.FixedDims`)."""

    dims: tuple[FixedDimRecord, ...]
    free: tuple[str, ...]
    export: str


class AdoptedRecord(_Record):
    """The origin of a version that tfbundle did not build: when it was adopted, and its folder relative to the bundle."""

    at: str
    path: RelativePath


class BuilderRecord(_Record):
    """The CI job that ran a build (`bundler.process.environment.ci_build`)."""

    id: str
    invocation: str | None = None
    repository: str | None = None
    ref: str | None = None
    commit: str | None = None
    runner: str | None = None


_Package = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*\z")]
_PackageVersion = Annotated[str, Field(pattern=r"^[A-Za-z0-9.!+_\-]+\z")]


class BuildRecord(_Record):
    """How a version was built: what its bill of materials and its provenance say besides the measurements.

    Attributes:
        started: when the build of the version began; it ended at the version's `created`.
        parameters: the model's section of the spec, without defaults.
        packages: the version of every package whose modules the build loaded.
        builder: the CI job; None for a build outside a known CI.
    """

    started: datetime
    parameters: dict[str, Any]
    packages: dict[_Package, _PackageVersion]
    builder: BuilderRecord | None = None


class VersionRecord(_Record):
    """The record of one version of a model. `adopted` is set for a version that tfbundle did not build."""

    created: datetime
    source: dict[str, Any]
    converter: str
    layout: str
    opset: Count
    permutations: dict[str, tuple[Count, ...]] = {}
    largest_batch: Count = 0
    signatures: dict[str, SignatureRecord]
    methods: dict[str, Literal["classify", "regress"]] = {}
    parity: ParityRecord
    graph: GraphRecord
    tflite: dict[str, VariantRecord]
    tflite_refused: dict[str, RejectedRecord] = {}
    fast_path: FastPathRecord | None = None
    fast_path_refused: RejectedFastPathRecord | None = None
    precision: PrecisionRecord | None = None
    mixed_precision: PrecisionRecord | None = None
    choice: ChoiceRecord | None = None
    against: AgainstRecord | None = None
    stages: dict[str, Number]
    evaluation: EvaluationRecord | None = None
    fixed_dims: FixedDimsRecord | None = None
    adopted: AdoptedRecord | None = None
    build: BuildRecord | None = None

    @model_validator(mode="after")
    def _has_the_model_itself(self) -> VersionRecord:
        if "serving_default" not in self.signatures and self.adopted is None:
            raise ValueError("signatures: serving_default is missing")
        return self


class ModelRecord(_Record):
    """The versions of a model, by number."""

    model_config = ConfigDict(extra="forbid")

    versions: dict[Version, VersionRecord] = Field(min_length=1)


class ManifestRecord(_Record):
    """The part of bundle.json that the report shows."""

    tools: dict[str, str]
    models: dict[ModelName, ModelRecord]


class FileRecord(_Record):
    """Size in bytes and sha256 of a file."""

    model_config = ConfigDict(extra="forbid")

    size: Count
    sha256: Sha256


class PromotionRecord(_Record):
    """One change of a label; a version is None where the label did not exist."""

    at: str
    kind: Literal["promote", "rollback"]
    model: ModelName
    label: str
    before: Version | None
    version: Version | None


class ImagesRecord(_Record):
    """The preprocessing of calibration images, which an export hands over."""

    resize: _ImageSide | tuple[_ImageSide, _ImageSide] | None = None
    crop: Literal["none", "center"] = "none"
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    channels: Literal["rgb", "bgr"] = "rgb"
    scale: Annotated[float, Field(gt=0)] = 1 / 255
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


class TfliteSettings(_Record):
    """The settings for TFLite that commands read after the build."""

    images: ImagesRecord | None = None


class ModelSettings(_Record):
    """A model's section of the spec, as far as commands read it without parsing the whole spec."""

    name: ModelName
    tflite: TfliteSettings | None = None
    fast_path: bool | FastPathForm | None = None


class ServingSettings(_Record):
    """The serving section of the spec, as far as commands read it without parsing the whole spec."""

    grpc_port: Port
    rest_port: Port
    labels: dict[ModelName, dict[str, Version]]
    versions: dict[ModelName, tuple[Version, ...]]
    fast_path: bool | FastPathForm
    mixed_precision: Literal["bfloat16"] | None = None


class SpecRecord(_Record):
    """The spec. Rendering parses it completely (`bundler.spec.bundle_spec.parse_spec`)."""

    models: tuple[ModelSettings, ...]
    serving: ServingSettings
    kubernetes: dict[str, Any]
    docker: dict[str, Any]


class BundleFile(ManifestRecord):
    """The whole content of bundle.json."""

    model_config = ConfigDict(extra="forbid")

    schema_: Annotated[str, Field(alias="schema")]
    digest: str
    spec: SpecRecord
    files: dict[RelativePath, FileRecord]
    promotions: tuple[PromotionRecord, ...] = ()

    @field_validator("promotions")
    @classmethod
    def _rollbacks_undo_promotions(cls, promotions: tuple[PromotionRecord, ...]) -> tuple[PromotionRecord, ...]:
        open_promotions: dict[tuple[str, str], int] = {}
        for entry in promotions:
            key = (entry.model, entry.label)
            open_promotions[key] = open_promotions.get(key, 0) + (1 if entry.kind == "promote" else -1)
            if open_promotions[key] < 0:
                raise ValueError(f"a rollback of the label {entry.label[:_SHOWN_KEY]!r} has no promotion before it")
        return promotions


def check_content(data: bytes) -> None:
    """Check the content of a bundle.json against the schema.

    Raises:
        ValueError: the content does not follow the schema; the message names each wrong key.
    """
    try:
        BundleFile.model_validate_json(data)
    except ValidationError as exc:
        _raise_problems(exc)


def _raise_problems(exc: ValidationError) -> NoReturn:
    problems = [f"{_place(error['loc'])}: {_lower(error['msg'])}" for error in exc.errors(include_url=False, include_input=False)]
    more = len(problems) - _SHOWN_PROBLEMS
    rest = [f"and {more} more"] if more > 0 else []
    raise ValueError("; ".join([*problems[:_SHOWN_PROBLEMS], *rest])) from exc


def _place(keys: Sequence[int | str]) -> str:
    """Return a key's place in the file; a key of a stranger's file is shortened and never printed raw."""
    texts = [str(key) for key in keys if key != "[key]"]
    texts = [text if len(text) <= _SHOWN_KEY else f"{text[:_SHOWN_KEY]}…" for text in texts]
    return ".".join(text if text.isprintable() else ascii(text) for text in texts) or "the content"


def _lower(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def read_manifest(content: Mapping[str, Any]) -> ManifestRecord:
    """Return the part of bundle.json that the report shows.

    Raises:
        VerifyError: Keys are missing or malformed; the message names each of them.
    """
    try:
        return ManifestRecord.model_validate_json(json.dumps(content))
    except ValidationError as exc:
        lines = [f"{_place(error['loc'])}: {error['msg']}" for error in exc.errors()]
        raise VerifyError(
            "bundle.json lacks data that the report shows:\n" + "\n".join(lines),
            fix="build the model again",
            code="TFB5102",
        ) from exc
