"""bundle.yaml: what to build and how to serve it. Unknown keys are errors.

These models are the only source of a build's options. Description, default, choices and bounds of a field go from here into
the JSON Schema, the commented bundle.yaml of `tfbundle init` (template.py), the parameters of `tfbundle build`
(options.py), and the files that `python -m bundler.spec` writes: the keywords of `bundler.build` and docs/options.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr, ValidationError, field_validator, model_validator

from bundler.bundle.layout import check_model_name
from bundler.errors import SpecError, UsageError
from bundler.spec.against_spec import AgainstSpec
from bundler.spec.fields import INT32, INT64
from bundler.spec.image_names import Repository
from bundler.spec.kubernetes_spec import KubernetesSpec
from bundler.spec.model_names import expand_patterns
from bundler.spec.option import Option
from bundler.spec.parsing import parse_dims, parse_names, parse_number, parse_shapes, parse_signatures
from bundler.spec.problems import Problem, common_code, find_problems
from bundler.spec.server_flags import Value, check_flags
from bundler.spec.signature_spec import (
    ClassifySpec,
    DimSize,
    ImageSpec,
    InputText,
    Labels,
    SignatureKey,
    SignatureName,
    SignatureSpec,
    Strict,
    reason,
)
from bundler.spec.yaml_places import Places
from bundler.values.signature import LARGEST_DIM

TfliteVariant = Literal["float32", "float16", "dynamic", "int8", "int8-full", "int8-io", "int16x8", "int4", "mix"]
INT8: tuple[TfliteVariant, ...] = ("int8", "int8-full", "int8-io", "mix")
"""The variants that are int8 as far as each of them says."""
OWN_SCALES: tuple[TfliteVariant, ...] = ("int8", "int8-full")
"""The variants that take the scales of a model that is already quantized."""
CALIBRATED: tuple[TfliteVariant, ...] = (*INT8, "int16x8")
"""The variants whose value ranges come from calibration data."""
USES_CALIBRATION: tuple[TfliteVariant, ...] = (*CALIBRATED, "int4")
"""The variants that calibration data change: int4 can do without."""
FastPathForm = Literal["float32", "float16", "int8"]
"""What a model.tflite for the server computes in."""
SignatureLayout = Literal["keep", "nhwc"]

ADVICE = "list the options with `tfbundle build --help`, or write a commented bundle.yaml with `tfbundle init`"
MODEL_PANEL = "The model (not with a bundle.yaml)"
TFLITE_PANEL = "TFLite"


def _model_name(name: str) -> str:
    try:
        return check_model_name(name)
    except UsageError as exc:
        raise ValueError(reason(exc)) from exc


Version = Annotated[int, Field(ge=1, le=INT64)]
"""A version, an int64 of TensorFlow Serving."""
Count = Annotated[int, Field(ge=1, le=INT32)]
"""A positive 32-bit integer, as in TensorFlow Serving's batching and in Kubernetes."""
ModelName = Annotated[str, AfterValidator(_model_name)]
LabelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Fraction = Annotated[float, Field(gt=0, le=1)]
NUMBER = Option(parse=parse_number)


class TfliteSpec(Strict):
    """The TFLite files of a model (docs/tflite.md)."""

    variants: Annotated[
        tuple[TfliteVariant, ...],
        Option(flag="--tflite", keyword="tflite", form="variant,...", parse=parse_names, commas=True),
    ] = Field((), description="TFLite variants to build.", examples=[["float16", "int8"]])
    calibration: str | None = Field(
        None,
        description="Samples for the int variants: an .npz file, a folder of .npz files or images, or module:function.",
        examples=["samples.npz"],
    )
    allow_random_calibration: bool = Field(
        False, description="Accept 'random' as calibration: value ranges of noise, only to try out sizes and speed."
    )
    images: ImageSpec | None = Field(None, description="Preprocessing of images: in a calibration folder, and in apps.")
    batch: int = Field(1, ge=1, le=LARGEST_DIM, description="Size of the dim named 'batch' in the .tflite files.")
    dims: Annotated[dict[str, DimSize], Option(form="dim=size,...", parse=parse_dims)] = Field(
        {}, description="Sizes of dynamic dims in the .tflite files, by name.", examples=[{"seq": 64}]
    )
    shapes: Annotated[
        dict[SignatureName, dict[str, DimSize]],
        Option(flag="--shape", form="NAME:dim=size,...", parse=parse_shapes, repeat=True),
    ] = Field(
        {}, description="Additional signatures of the same file with other sizes.", examples=[{"long": {"seq": 256}}]
    )
    io: Annotated[Literal["portable", "model"], Option(flag="--tflite-io", keyword="tflite_io")] = Field(
        "portable",
        description="Types of the files' inputs and outputs: with 'portable', int64 becomes int32 and bool becomes uint8, which "
        "LiteRT.js, MediaPipe and Swift take; 'model' keeps the model's.",
    )
    io_type: Literal["int8", "uint8"] | None = Field(
        None, description="Data type of the inputs and outputs of 'int8-io'. Default: uint8, or int8 with io: model."
    )
    float_layers: Annotated[tuple[str, ...], Option(form="layer,...", parse=parse_names)] = Field(
        (),
        description="Layers that stay float in 'mix': modules, ONNX nodes or operators; * matches any text. "
        "Default: chosen by measurement.",
        examples=[["head.*"]],
    )
    auto_mix: bool = Field(
        False, description="Build 'mix' with the smallest set of float layers that passes the accuracy gate."
    )
    select_tf_ops: bool = Field(
        False, description="Use TensorFlow's kernels for operators that TFLite lacks; the app then needs the Flex delegate."
    )
    target_runtime: str | None = Field(
        None,
        description="Oldest runtime that the files have to run on, RUNTIME==VERSION. Versions of operators are lowered to it; "
        "a file that it cannot run is rejected.",
        examples=["litert==1.4", "litert==2.1", "tflite-runtime==2.14"],
    )
    evaluate: Annotated[str | None, Option(keyword="gate")] = Field(
        None,
        description="Accuracy gate, module:function: returns a metric of predict (higher is better) or labelled samples.",
        examples=["metrics.py:accuracy"],
    )
    max_drop: Annotated[float, NUMBER] = Field(
        0.01, ge=0, description="With evaluate: largest allowed drop of a variant's metric below PyTorch's."
    )
    min_sqnr: Annotated[float, NUMBER] = Field(
        15.0, description="Without evaluate: lowest signal-to-quantization-noise ratio of each output, in dB."
    )
    min_top1: Annotated[Fraction | None, NUMBER] = Field(
        None, description="Without evaluate: lowest share of equal top-1 answers.", examples=[0.99]
    )

    @field_validator("variants")
    @classmethod
    def _once(cls, variants: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(variants))

    @property
    def integer_io(self) -> Literal["int8", "uint8"]:
        """The type of the inputs and outputs of int8-io."""
        return self.io_type or ("uint8" if self.io == "portable" else "int8")

    @property
    def wanted(self) -> tuple[TfliteVariant, ...]:
        """The variants, with the mix that `auto_mix` asks for."""
        return (*self.variants, "mix") if self.auto_mix and "mix" not in self.variants else self.variants


class ModelSpec(Strict):
    """One model of the bundle."""

    name: Annotated[
        str, AfterValidator(_model_name), Option(absent="inferred from the source", python_type="str | None")
    ] = Field(description="Name that the model is served under.", examples=["resnet18"])
    source: str = Field(
        description="The model: file.py:callable, .pt2, .onnx, .pt, .pth, .safetensors, timm:NAME or hf:NAME_OR_PATH. In "
        "bundle.yaml also a pattern, such as exports/*.onnx: one model for each file, named by it.",
        examples=["model.py:make_model"],
    )
    architecture: str | None = Field(
        None,
        description="file.py:callable that creates the module which a state dict belongs to.",
        examples=["nets.py:make"],
    )
    weights: str | None = Field(
        None,
        description="State dict to load into the module (.pt, .pth or .safetensors).",
        examples=["weights.safetensors"],
    )
    pretrained: bool = Field(True, description="Download the published weights of a timm: or hf: source.")
    trust_pickle: bool = Field(False, description="Load pickles that can run code. Only for files you made yourself.")
    inputs: Annotated[
        tuple[InputText, ...], Option(flag="--input", form="name=dtype[dims]", parse=tuple, repeat=True)
    ] = Field(
        (),
        description="Inputs, e.g. x=float32[batch,3,224,224]; a named dim is dynamic. Default: from the example inputs.",
        examples=[["x=float32[batch,3,224,224]"]],
    )
    outputs: Annotated[tuple[str, ...], Option(flag="--output", form="name", parse=tuple, repeat=True)] = Field(
        (), description="Names for the outputs, in the model's order. Default: the model's own.", examples=[["scores"]]
    )
    signatures: Annotated[
        dict[SignatureKey, SignatureSpec],
        Option(flag="--signature", form="NAME=METHOD", parse=parse_signatures, repeat=True),
    ] = Field(
        {},
        description="Signatures in addition to serving_default (docs/signatures.md).",
        examples=[{"embed": {"method": "encode"}, "photo": {"image": {}}}],
    )
    labels: Labels | None = Field(
        None,
        description="Class names of a classifier, a file with one per line: adds the signature 'classify'. Or a list.",
        examples=["labels.txt"],
    )
    ops: Annotated[
        tuple[str, ...],
        Option(form="file.py", parse=tuple, repeat=True, python_type="str | Path | Sequence[str | Path]"),
    ] = Field(
        (),
        description="Python files with your own handlers for operators (docs/custom-ops.md).",
        examples=[["my_ops.py"]],
    )
    converter: Annotated[str, Option(known=("native", "onnx-tf"))] = Field(
        "native", description="Converter from ONNX to TensorFlow: native, onnx-tf, or another installed one."
    )
    opset: Annotated[int | None, NUMBER] = Field(
        None, ge=7, le=INT32, description="ONNX opset to export. Default: the newest that torch exports well.", examples=[20]
    )
    layout: SignatureLayout | None = Field(
        None,
        description="Layout of image inputs and outputs: 'keep' PyTorch's NCHW, or 'nhwc', channels last. Default: nhwc in "
        "TFLite files of models with tflite.images, else keep.",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Precision of the SavedModel: 'bfloat16' computes convolutions and matrix products in bfloat16 and halves "
        "the weights, if the result passes the accuracy gate (evaluate, min_sqnr, min_top1 of tflite). Faster on CPUs with "
        "AVX-512 BF16 or AMX, slower on others.",
    )
    optimize: Literal["latency", "throughput", "size"] | None = Field(
        None,
        description="Build each form that passes its accuracy gate (float32, bfloat16, model.tflite; float16 and int8 with "
        "calibration data), measure them, and serve the one with the best latency, throughput or size.",
        examples=["throughput"],
    )
    cast_half: bool = Field(
        False, description="float32 inputs and outputs for a half-precision model, because JSON has no half precision."
    )
    tolerance: Annotated[float | None, NUMBER] = Field(
        None,
        gt=0,
        description="Largest relative error allowed against PyTorch. Default: by the dtype in which the model computes: 1e-7 for "
        "float64, 1e-4 for float32, 0.0039 for float16, 0.031 for bfloat16; up to 0.25 where PyTorch itself rounds that much.",
        examples=[0.01],
    )
    tflite: TfliteSpec = Field(TfliteSpec(), description="TFLite files.")
    fast_path: Annotated[bool | FastPathForm | None, Option(panel=TFLITE_PANEL, bare="float32")] = Field(
        None,
        description="Serve a model.tflite instead of the SavedModel, in float32 (true) or as the TFLite variant float16 or int8, "
        "with float inputs and outputs and dynamic sizes; these two are left out if they are below the accuracy gate of tflite. "
        "Default: serving.fast_path.",
        examples=["int8"],
    )
    against: AgainstSpec = Field(
        AgainstSpec(), description="Comparison of a new version with the one in service, which it has to pass."
    )

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        if "serving_default" in self.signatures:
            raise ValueError("signatures: serving_default is the model itself; give the additional signature another name")
        for name, spec in self.signatures.items():
            if spec.is_derived and spec.of not in ("serving_default", *self.methods):
                known = ", ".join(("serving_default", *self.methods))
                raise ValueError(f"signatures.{name}.of: there is no signature {spec.of!r} to wrap; choose one of {known}")
        return self

    @property
    def methods(self) -> dict[str, SignatureSpec]:
        """The additional signatures that are methods of the module."""
        return {name: spec for name, spec in self.signatures.items() if not spec.is_derived}

    @property
    def derived(self) -> dict[str, SignatureSpec]:
        """The signatures that wrap others, including the `classify` that `labels` adds."""
        derived = {name: spec for name, spec in self.signatures.items() if spec.is_derived}
        if self.labels is None or "classify" in self.signatures:
            return derived
        return {"classify": SignatureSpec(classify=ClassifySpec()), **derived}


class ServingSpec(Strict):
    """Settings of TensorFlow Serving, which go into serving/, k8s/ and docker/."""

    grpc_port: int = Field(8500, ge=1, le=65535, description="gRPC port of the server.")
    rest_port: int = Field(8501, ge=1, le=65535, description="REST port of the server.")
    labels: dict[ModelName, dict[LabelName, Version]] = Field(
        {}, description="Version that each label of a model points to.", examples=[{"digits": {"stable": 1}}]
    )
    versions: dict[ModelName, tuple[Version, ...]] = Field(
        {}, description="Versions of a model to serve. Default: only the latest.", examples=[{"digits": [1, 2]}]
    )
    clients: Literal["many", "few"] = Field(
        "many",
        description="With many, each request runs on one core, which gives most requests per second; with few, on all cores, "
        "which gives a lone client the shortest time.",
    )
    batching: bool = Field(False, description="Let the server combine requests into batches.")
    max_batch_size: int = Field(32, ge=1, le=INT32, description="With batching: largest number of examples in a batch.")
    batch_timeout_micros: int = Field(
        1000, ge=0, le=INT64, description="With batching: longest time that a batch waits for more requests, in microseconds."
    )
    max_enqueued_batches: int = Field(
        100, ge=1, le=INT32, description="With batching: number of waiting batches at which the server rejects requests."
    )
    num_batch_threads: int | None = Field(
        None,
        ge=1,
        le=INT32,
        description="With batching: number of batches that run at the same time. Default: one per core, as the server decides.",
    )
    allowed_batch_sizes: tuple[Count, ...] = Field(
        (),
        description="With batching: sizes that batches are padded to; the last one is max_batch_size. Default: no padding.",
        examples=[[1, 8, 32]],
    )
    pad_variable_length_inputs: bool | None = Field(
        None,
        description="With batching: pad shorter requests of a batch, each input with its first value. Default: if the build "
        "finds that this changes no answer.",
    )
    fast_path: bool | FastPathForm = Field(
        False,
        description="Serve a model.tflite instead of each SavedModel (--prefer_tflite_model): faster for small models. As for a "
        "model: true, or what it computes in.",
    )
    mixed_precision: Literal["bfloat16"] | None = Field(
        None,
        description="Let the server compute products of float32 models in bfloat16 (--mixed_precision), if every model passes "
        "its accuracy gate and is not slower. Default: no.",
    )
    monitoring: bool = Field(True, description="Export Prometheus metrics on the REST port.")
    monitoring_path: str = Field(
        "/monitoring/prometheus/metrics",
        pattern=r"^/[A-Za-z0-9._~%@:+,=/-]*$",
        description="Path of the metrics on the REST port.",
    )

    flags: Annotated[dict[str, Value], AfterValidator(check_flags)] = Field(
        {},
        description="Further flags of tensorflow_model_server, by name without dashes.",
        examples=[{"tensorflow_intra_op_parallelism": 2}],
    )

    @model_validator(mode="after")
    def _ports_differ(self) -> ServingSpec:
        if self.grpc_port == self.rest_port:
            # tensorflow_model_server logs an error and serves no REST (model_servers/server.cc).
            raise ValueError(f"grpc_port and rest_port are both {self.grpc_port}; use two different ports, e.g. 8500 and 8501")
        return self

    @model_validator(mode="after")
    def _batch_sizes(self) -> ServingSpec:
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[-1] != self.max_batch_size):
            raise ValueError(
                f"allowed_batch_sizes {list(sizes)} must increase and end with max_batch_size {self.max_batch_size}, "
                "e.g. [1, 8, 32]"
            )
        return self


class DockerSpec(Strict):
    """The image of TensorFlow Serving that k8s/ and docker/ use."""

    image: Repository = Field("tensorflow/serving", description="Image of TensorFlow Serving.")
    tag: str = Field("2.19.1", pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", description="Tag of the image.")
    digest: str | None = Field(
        None,
        pattern=r"^sha256:[0-9a-f]{64}$",
        description="Digest that pins the image, sha256:<64 hexadecimal digits>.",
        examples=["sha256:" + 64 * "0"],
    )

    @property
    def is_official(self) -> bool:
        """Whether the image is TensorFlow Serving's own, or a mirror's of that name, whose tags name releases."""
        return self.image.endswith("tensorflow/serving")

    @property
    def reference(self) -> str:
        """The image with its tag and digest, as a container runtime takes it."""
        return f"{self.image}:{self.tag}" + (f"@{self.digest}" if self.digest else "")


class BundleSpec(Strict):
    """A whole bundle.yaml."""

    models: tuple[ModelSpec, ...] = Field((), description="The models to build.")
    serving: ServingSpec = Field(ServingSpec(), description="Settings of TensorFlow Serving.")
    kubernetes: KubernetesSpec = Field(KubernetesSpec(), description="Settings of the Kubernetes manifests.")
    docker: DockerSpec = Field(DockerSpec(), description="Image of TensorFlow Serving.")
    _places: Places | None = PrivateAttr(None)

    def place(self, keys: Sequence[int | str]) -> str | None:
        """Return where a value stands, `bundle.yaml, line 4, column 13`; None if the spec was not read from a file."""
        return str(self._places.of_value(keys)) if self._places else None

    @field_validator("models")
    @classmethod
    def _names_once(cls, models: tuple[ModelSpec, ...]) -> tuple[ModelSpec, ...]:
        names = [m.name for m in models]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two models have the name {twice[0]!r}; give every model a name of its own")
        return models

    @model_validator(mode="after")
    def _gpu_needs_cuda(self) -> BundleSpec:
        """Refuse the component gpu with a CPU image of tensorflow/serving, which would leave the GPU idle and paid for."""
        if "gpu" in self.kubernetes.components and self.docker.is_official and "gpu" not in self.docker.tag:
            raise ValueError(
                f"kubernetes.components has gpu, but {self.docker.image}:{self.docker.tag} is an image for CPUs; set "
                f"docker.tag: {self.docker.tag}-gpu"
            )
        return self

    def fast_path_of(self, model: ModelSpec) -> FastPathForm | None:
        """Return what the model.tflite of a model computes in; None if its SavedModel is served."""
        chosen = self.serving.fast_path if model.fast_path is None else model.fast_path
        return "float32" if chosen is True else chosen or None

    def has_fast_path(self, model: ModelSpec) -> bool:
        """Return whether a model.tflite is built for a model and served instead of its SavedModel."""
        return self.fast_path_of(model) is not None

    def compared_with(self, version: str) -> BundleSpec:
        """Return this spec with every model compared with a version, or with the version that a label points to.

        Raises:
            SpecError: the text is neither a version nor a label.
        """
        try:
            bounds = [AgainstSpec.model_validate({**model.against.model_dump(), "version": version}) for model in self.models]
        except ValidationError as exc:
            problems = "\n".join(str(problem) for problem in find_problems(exc, AgainstSpec))
            raise SpecError(problems, where="--against", fix="give a version or a label", code="TFB1401") from exc
        pairs = zip(self.models, bounds, strict=True)
        models = tuple(model.model_copy(update={"against": against}) for model, against in pairs)
        return self.model_copy(update={"models": models})

    @property
    def stated_serving(self) -> frozenset[str]:
        """Keys of the serving section that the user set; the others have their defaults."""
        return frozenset(self.serving.model_fields_set if "serving" in self.model_fields_set else ())

    @property
    def prefers_tflite(self) -> bool:
        """Whether the server is started with the flag that prefers a version's model.tflite."""
        return bool(self.serving.fast_path or any(model.fast_path for model in self.models))

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema of bundle.yaml. Editors find it through the comment that `tfbundle init` writes."""
        return cls.model_json_schema()


def parse_spec(data: object, *, where: str, show_keys: bool = True, places: Places | None = None) -> BundleSpec:
    """Validate the content of a bundle.yaml.

    Args:
        data: the parsed YAML.
        where: origin of the data, for error messages.
        show_keys: whether an error names the full path of each wrong key beside `where`.
        places: the lines and columns of the file that the data is from.

    Raises:
        SpecError: if the data does not follow the schema; the message names each wrong key, its value and the rule.
    """
    if not isinstance(data, dict):
        raise SpecError(
            "The content of a bundle.yaml must be a mapping with the key 'models'.",
            where=where,
            fix=ADVICE,
            code="TFB1103",
        )
    try:
        spec = BundleSpec.model_validate(data)
    except ValidationError as exc:
        problems = find_problems(exc, BundleSpec)
        if places:
            raise _misplaced(problems, places, common_code(exc)) from exc
        keys = ", ".join(dict.fromkeys(problem.path for problem in problems if problem.path))
        place = f"{where}, {keys}" if show_keys and keys else where
        raise SpecError(
            "\n".join(str(problem) for problem in problems), where=place, fix=ADVICE, code=common_code(exc)
        ) from exc


    spec._places = places
    return spec


def _misplaced(problems: Sequence[Problem], places: Places, code: str) -> SpecError:
    """Return the error for problems of a file: the only one with its place in `where`, several with one place per line."""
    found = [(places.of_key(problem.keys) if problem.is_key else places.of_value(problem.keys), problem) for problem in problems]
    if len(found) == 1:
        place, problem = found[0]
        return SpecError(str(problem), where=", ".join(filter(None, [str(place), problem.path])), fix=ADVICE, code=code)
    lines = [f"{place.text}: {problem}" for place, problem in sorted(found, key=lambda each: (each[0].line, each[0].column))]
    return SpecError("\n".join([f"{len(lines)} problems in {places.path}:", *lines]), fix=ADVICE, code=code)


def read_spec(path: Path) -> BundleSpec:
    """Read a bundle.yaml. A model whose source is a pattern becomes one model for each file that the pattern matches.

    Raises:
        SpecError: if the file does not exist, is not YAML, is too large, or does not follow the schema, or a pattern matches
            no file.
    """
    from bundler.spec.yaml_file import parse_yaml, read_yaml_text

    text = read_yaml_text(path)
    data, origins = expand_patterns(parse_yaml(text, path), path.resolve().parent, str(path))
    return parse_spec(data, where=str(path), places=Places(text, path, origins))
