"""bundle.yaml: what to build and how it is to be served. Unknown keys are errors.

`BundleSpec.json_schema()` is the published schema; editors pick it up from the comment that `tfbundle init` writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, PositiveInt, ValidationError, field_validator, model_validator

from bundler.bundle.layout import check_model_name
from bundler.errors import SpecError, UsageError
from bundler.spec.signature_spec import ClassifySpec, ImageSpec, InputText, Labels, SignatureName, SignatureSpec, Strict

TfliteVariant = Literal["float32", "float16", "dynamic", "int8", "int8-io", "int16x8", "mix"]
CALIBRATED: tuple[TfliteVariant, ...] = ("int8", "int8-io", "int16x8", "mix")
"""The variants that take their ranges of values from calibration data."""
SignatureLayout = Literal["keep", "nhwc"]
Component = Literal[
    "gateway", "ingress", "canary", "autoscaling", "disruption-budget", "metrics", "service-monitor", "network-policy",
    "topology-spread", "gpu", "tls", "models-pvc", "models-volume", "models-bucket",
]  # fmt: skip
COMPONENTS: tuple[Component, ...] = get_args(Component)
"""Components of k8s/, in the order in which an overlay lists them: those that patch come after those that add."""


def _model_name(name: str) -> str:
    try:
        return check_model_name(name)
    except UsageError as exc:
        raise ValueError(str(exc)) from exc


Fraction = Annotated[float, Field(gt=0, le=1)]


class TfliteSpec(Strict):
    variants: tuple[TfliteVariant, ...] = ()
    calibration: str | None = Field(
        None, description="Samples for the int variants: an .npz, a folder of .npz or images, or module:function."
    )
    allow_random_calibration: bool = Field(
        False, description="Accept `calibration: random`: ranges of noise, for a try of sizes and speed alone."
    )
    images: ImageSpec | None = Field(None, description="Preprocessing of a calibration folder of images.")
    batch: int = Field(1, ge=1, description="Size of a dim named batch in the .tflite files; other names: see dims.")
    dims: dict[str, int] = Field({}, description="Sizes of further dynamic dims in the .tflite files, e.g. seq: 64.")
    shapes: dict[SignatureName, dict[str, PositiveInt]] = Field(
        {}, description="Further signatures of the same file, each with other sizes, e.g. long: {seq: 256}."
    )
    io_type: Literal["int8", "uint8"] = Field("int8", description="Type of the inputs and outputs of int8-io.")
    float_layers: tuple[str, ...] = Field(
        (), description="Layers that stay float in mix: modules, nodes or operators, * allowed. Empty: found."
    )
    auto_mix: bool = Field(
        False, description="Make mix with the smallest set of float layers that passes the gate."
    )
    select_tf_ops: bool = Field(
        False, description="Let TensorFlow's own kernels do what TFLite has no operator for; needs the Flex delegate."
    )
    evaluate: str | None = Field(
        None, description="module:function: a metric of predict (higher is better), or labelled samples."
    )
    max_drop: float = Field(0.01, ge=0, description="With evaluate: how far below PyTorch's metric a variant may be.")
    min_sqnr: float = Field(
        10.0, description="Without evaluate: least signal-to-quantization-noise ratio in dB, of each output."
    )
    min_top1: Fraction | None = Field(None, description="Without evaluate: least share of equal top-1 answers.")

    @field_validator("variants")
    @classmethod
    def _once(cls, variants: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(variants))

    @property
    def wanted(self) -> tuple[TfliteVariant, ...]:
        """The variants, with the mix that `auto_mix` asks for."""
        return (*self.variants, "mix") if self.auto_mix and "mix" not in self.variants else self.variants


class ModelSpec(Strict):
    """One model of the bundle."""

    name: Annotated[str, AfterValidator(_model_name)]
    source: str = Field(description="file.py:callable, .pt2, .onnx, .pt/.pth/.safetensors, timm:NAME or hf:NAME_OR_PATH.")
    architecture: str | None = Field(None, description="file.py:callable that makes the module a state dict belongs to.")
    weights: str | None = Field(None, description="State dict to load into the module (.pt, .pth, .safetensors).")
    pretrained: bool = Field(True, description="timm: and hf: sources: fetch the published weights.")
    trust_pickle: bool = Field(False, description="Load pickles that can run code. Only for files you made yourself.")
    inputs: tuple[InputText, ...] = Field((), description="name=dtype[dims]; a named dim is dynamic.")
    outputs: tuple[str, ...] = Field((), description="Names for the outputs, in the model's order; empty: its own.")
    signatures: dict[str, SignatureSpec] = Field({}, description="Further signatures beside serving_default, by name.")
    labels: Labels | None = Field(
        None, description="Names of a classifier's classes, a list or a file with one a line: gives the signature classify."
    )
    ops: tuple[str, ...] = Field((), description="Python files with handlers of your own for operators of the graph.")
    converter: str = "native"
    opset: int | None = Field(None, ge=7, description="ONNX opset to export; empty: the newest that torch writes well.")
    layout: SignatureLayout = Field("keep", description="keep PyTorch's NCHW signature, or take image inputs as nhwc.")
    cast_half: bool = Field(
        False, description="Inputs and outputs of float16 and bfloat16 are float32 to the outside: JSON has no half."
    )
    tolerance: float = Field(1e-4, gt=0, description="Largest relative error allowed against PyTorch.")
    tflite: TfliteSpec = TfliteSpec()
    fast_path: bool | None = Field(
        None, description="A model.tflite beside saved_model.pb; empty: as serving.fast_path says for all models."
    )

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        if "serving_default" in self.signatures:
            raise ValueError("signatures: serving_default is the model itself; give the further signature another name")
        for name, spec in self.signatures.items():
            if spec.is_derived and spec.of not in ("serving_default", *self.methods):
                known = ", ".join(("serving_default", *self.methods))
                raise ValueError(f"signatures.{name}.of: there is no signature {spec.of!r} to stand behind; one of: {known}")
        return self

    @property
    def methods(self) -> dict[str, SignatureSpec]:
        """The further signatures that are methods of the module."""
        return {name: spec for name, spec in self.signatures.items() if not spec.is_derived}

    @property
    def derived(self) -> dict[str, SignatureSpec]:
        """The signatures made of others, with the `classify` that `labels` gives."""
        made = {name: spec for name, spec in self.signatures.items() if spec.is_derived}
        if self.labels is None or "classify" in self.signatures:
            return made
        return {"classify": SignatureSpec(classify=ClassifySpec()), **made}


class ServingSpec(Strict):
    """TF Serving's settings that go into serving/, k8s/ and docker/."""

    grpc_port: int = Field(8500, ge=1, le=65535)
    rest_port: int = Field(8501, ge=1, le=65535)
    labels: dict[str, dict[str, int]] = Field({}, description="model -> label -> version, e.g. digits: {stable: 1}.")
    versions: dict[str, tuple[int, ...]] = Field({}, description="model -> versions to serve; empty: the latest.")
    batching: bool = False
    max_batch_size: int = Field(32, ge=1)
    batch_timeout_micros: int = Field(1000, ge=0)
    max_enqueued_batches: int = Field(100, ge=1)
    num_batch_threads: int = Field(2, ge=1)
    allowed_batch_sizes: tuple[int, ...] = ()
    fast_path: bool = Field(
        False, description="Serve a model.tflite in place of each SavedModel (--prefer_tflite_model)."
    )
    monitoring: bool = True
    monitoring_path: str = Field("/monitoring/prometheus/metrics", pattern=r"^/\S*$")

    @model_validator(mode="after")
    def _ports_differ(self) -> ServingSpec:
        if self.grpc_port == self.rest_port:
            # tensorflow_model_server logs an error and serves no REST (model_servers/server.cc).
            raise ValueError(f"grpc_port and rest_port are both {self.grpc_port}; give them two ports, e.g. 8500 and 8501")
        return self

    @model_validator(mode="after")
    def _batch_sizes(self) -> ServingSpec:
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[-1] != self.max_batch_size):
            raise ValueError(
                f"allowed_batch_sizes {list(sizes)} must rise and end with max_batch_size {self.max_batch_size}, e.g. [1, 8, 32]"
            )
        return self


class KubernetesSpec(Strict):
    namespace: str = Field("default", pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    name: str | None = Field(None, description="Name of the objects; empty: the bundle's.")
    replicas: int = Field(2, ge=1)
    max_replicas: int = Field(10, ge=1)
    cpu: str = Field(
        "1", pattern=r"^(\d+(\.\d+)?|\d+m)$", coerce_numbers_to_str=True, description="CPU request, e.g. 2 or 500m."
    )
    memory: str | None = Field(
        None,
        pattern=r"^\d+(\.\d+)?([KMGT]i|[kMGT])?$",
        description="Memory request, e.g. 1Gi; the limit is twice that. Empty: computed from the models' size.",
    )
    models_image: str | None = Field(None, description="Image that carries the models; empty: <name>:<version>.")
    components: tuple[Component, ...] = Field(
        ("autoscaling", "disruption-budget", "metrics", "network-policy", "topology-spread"),
        description="Components of the overlay prod, and what the Helm chart switches on.",
    )
    canary_percent: int = Field(10, ge=0, le=100, description="canary: share of the requests that a Gateway sends to it.")
    host: str | None = Field(
        None,
        pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$",
        max_length=253,
        description="gateway, ingress: name for clients outside the cluster; empty: <name>.example.com.",
    )
    gateway: str = Field(
        "gateway",
        pattern=r"^([a-z0-9]([a-z0-9-]*[a-z0-9])?/)?[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        description="gateway: the Gateway to attach to, name or namespace/name.",
    )
    ingress_class: str = Field("nginx", pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    tls_secret: str | None = Field(
        None, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", description="tls, ingress: the secret; empty: <name>-tls."
    )
    gpus: int = Field(1, ge=1, description="gpu: how many a pod gets.")
    storage_uri: str | None = Field(
        None,
        pattern=r"^(s3|gs)://[a-z0-9][a-z0-9._-]*(/[^\s,:]+)*/?$",
        description="models-bucket, KServe: what the bundle's models/ was copied to, e.g. s3://bucket/models.",
    )
    volume_image: str | None = Field(
        None, description="models-volume: image of docker/Dockerfile.models; empty: <name>-models:<version>."
    )

    @field_validator("components")
    @classmethod
    def _one_source(cls, components: tuple[Component, ...]) -> tuple[Component, ...]:
        sources = [name for name in components if name.startswith("models-")]
        if len(set(sources)) > 1:
            raise ValueError(f"{' and '.join(sources)} both mount /models; take one of them")
        return tuple(dict.fromkeys(components))

    @model_validator(mode="after")
    def _replicas_rise(self) -> KubernetesSpec:
        if self.max_replicas < self.replicas:
            raise ValueError(
                f"max_replicas {self.max_replicas} is less than replicas {self.replicas}; e.g. max_replicas: {self.replicas}"
            )
        return self


class DockerSpec(Strict):
    image: str = "tensorflow/serving"
    tag: str = "2.19.1"
    digest: str | None = Field(None, pattern=r"^sha256:[0-9a-f]{64}$")

    @property
    def reference(self) -> str:
        return f"{self.image}:{self.tag}" + (f"@{self.digest}" if self.digest else "")


class BundleSpec(Strict):
    """A whole bundle.yaml."""

    models: tuple[ModelSpec, ...] = ()
    serving: ServingSpec = ServingSpec()
    kubernetes: KubernetesSpec = KubernetesSpec()
    docker: DockerSpec = DockerSpec()

    @field_validator("models")
    @classmethod
    def _names_once(cls, models: tuple[ModelSpec, ...]) -> tuple[ModelSpec, ...]:
        names = [m.name for m in models]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"models: the name {twice[0]!r} stands twice; every model needs its own")
        return models

    def has_fast_path(self, model: ModelSpec) -> bool:
        """Whether a model.tflite is built for a model and served in its SavedModel's place."""
        return self.serving.fast_path if model.fast_path is None else model.fast_path

    @property
    def stated_serving(self) -> frozenset[str]:
        """Keys of the serving section that the user wrote; the others have their defaults."""
        return frozenset(self.serving.model_fields_set if "serving" in self.model_fields_set else ())

    @property
    def prefers_tflite(self) -> bool:
        """Whether the server is told to prefer a model.tflite where a version has one."""
        return self.serving.fast_path or any(model.fast_path for model in self.models)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        return cls.model_json_schema()


def parse_spec(data: object, *, where: str) -> BundleSpec:
    """Validate the content of a bundle.yaml.

    Raises:
        SpecError: naming each wrong key, its value and the rule.
    """
    if not isinstance(data, dict):
        raise SpecError("A bundle.yaml is a mapping with the key 'models'.", where=where, fix="tfbundle init writes one")
    try:
        return BundleSpec.model_validate(data)
    except ValidationError as exc:
        raise SpecError(_explain(exc), where=where, fix="tfbundle init writes a commented bundle.yaml to start from") from exc


def _explain(exc: ValidationError) -> str:
    lines = []
    for error in exc.errors():
        key = ".".join(str(part) for part in error["loc"]) or "the file"
        message = error["msg"].removeprefix("Value error, ")
        if error["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key")
        else:
            lines.append(f"{key}: {message} (got {error['input']!r})")
    return "\n".join(lines)


def read_spec(path: Path) -> BundleSpec:
    """Read a bundle.yaml.

    Raises:
        SpecError: not there, not YAML, or not following the schema.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="safe").load(path.read_text("utf-8"))
    except FileNotFoundError as exc:
        raise SpecError(f"There is no file {path}.", fix="tfbundle init writes a bundle.yaml") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise SpecError(f"{path} cannot be read: {exc}.") from exc
    except YAMLError as exc:
        raise SpecError(f"{path} is not valid YAML: {exc}") from exc
    return parse_spec(data, where=str(path))
