"""Config files of tensorflow_model_server as typed values: models, batching parameters, monitoring.

Each class has `to_text()` for the file, `from_text()` to read one back, and `to_proto()`, `from_proto()` for
messages of `serving.protocol.messages`. Constructors check what no server accepts; what depends on the
versions that there are is checked by `ModelServerConfig.check_labels`.

    config = ModelServerConfig((ServedModel("digits", "/models/digits", labels={"stable": 1}),))
    Path("models.config").write_text(config.to_text())
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from google.protobuf import text_format

from serving.errors import ConfigError
from serving.protocol.messages import pool, serving_message

T = TypeVar("T")

TENSORFLOW = "tensorflow"
"""The one model platform that tensorflow_model_server has (model_servers/model_platform_types.h)."""

PROMETHEUS_PATH = "/monitoring/prometheus/metrics"
"""Path of the metrics when the config names none (util/prometheus_exporter.cc)."""

DEFAULT_MAX_BATCH_SIZE = 1000
"""`max_batch_size` when the file names none (TensorFlow's shared_batch_scheduler.h)."""

_URI = re.compile(r"^[a-z][a-z0-9+.\-]*://[^/]")


@dataclass(frozen=True)
class Latest:
    """Serve the `count` highest versions on disk. The server's default is the highest one."""

    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"The policy latest has num_versions {self.count}.", fix="1 or more, e.g. 2")


@dataclass(frozen=True)
class AllVersions:
    """Serve every version on disk."""


@dataclass(frozen=True)
class Specific:
    """Serve exactly these versions."""

    versions: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.versions or len(set(self.versions)) != len(self.versions):
            raise ConfigError(
                f"The version policy specific has the versions {list(self.versions)}.",
                fix="name at least one version, each once, e.g. specific { versions: 1 versions: 2 }",
            )


VersionPolicy: TypeAlias = "Latest | AllVersions | Specific"


@dataclass(frozen=True)
class RequestLogging:
    """Logging of sampled requests (config/logging_config.proto).

    Attributes:
        collector: type of the log collector; the server brings none of its own.
        filename_prefix: where the collector writes.
        sampling_rate: share of the requests that is logged, 0 to 1.
    """

    collector: str
    filename_prefix: str
    sampling_rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.sampling_rate <= 1:
            raise ConfigError(f"sampling_rate is {self.sampling_rate}.", fix="between 0 and 1, e.g. 0.01")


@dataclass(frozen=True)
class ServedModel:
    """One model of a models.config.

    Attributes:
        base_path: absolute path (or URI) of the folder that holds the version folders.
        labels: label -> version; requests can name a label in a version's place.

    Raises:
        ConfigError: no name, a base path that is not absolute, or an empty label.
    """

    name: str
    base_path: str
    policy: VersionPolicy = field(default_factory=Latest)
    labels: Mapping[str, int] = field(default_factory=dict)
    platform: str = TENSORFLOW
    logging: RequestLogging | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError(f"The model at {self.base_path!r} has no name.", fix='e.g. name: "digits"')
        if not (self.base_path.startswith("/") or _URI.match(self.base_path)):
            raise ConfigError(
                f"The model {self.name!r} has the base_path {self.base_path!r}, which is not absolute.",
                fix=f'an absolute path or a URI, e.g. base_path: "/models/{self.name}"',
            )
        if self.platform != TENSORFLOW:
            raise ConfigError(
                f"The model {self.name!r} has the model_platform {self.platform!r}.",
                fix=f'model_platform: "{TENSORFLOW}" is the one there is',
            )
        if "" in self.labels:
            raise ConfigError(f"The model {self.name!r} has an empty label.", fix='e.g. key: "stable"')

    def served(self, available: Sequence[int]) -> tuple[int, ...]:
        """The versions that a server serves when `available` are on disk, ascending."""
        if isinstance(self.policy, Specific):
            return tuple(sorted(set(self.policy.versions) & set(available)))
        rising = tuple(sorted(set(available)))
        return rising if isinstance(self.policy, AllVersions) else rising[-self.policy.count :]

    def to_proto(self) -> Any:
        made = serving_message("ModelConfig")(
            name=self.name, base_path=self.base_path, model_platform=self.platform
        )
        if isinstance(self.policy, Specific):
            made.model_version_policy.specific.versions.extend(self.policy.versions)
        elif isinstance(self.policy, AllVersions):
            made.model_version_policy.all.SetInParent()
        else:
            made.model_version_policy.latest.num_versions = self.policy.count
        made.version_labels.update(self.labels)
        if self.logging is not None:
            made.logging_config.log_collector_config.type = self.logging.collector
            made.logging_config.log_collector_config.filename_prefix = self.logging.filename_prefix
            made.logging_config.sampling_config.sampling_rate = self.logging.sampling_rate
        return made

    @classmethod
    def from_proto(cls, config: Any) -> ServedModel:
        return cls(
            config.name,
            config.base_path,
            _policy(config),
            dict(config.version_labels),
            _platform(config),
            _logging(config),
        )


@dataclass(frozen=True)
class ModelServerConfig:
    """A whole models.config.

    Raises:
        ConfigError: a name stands twice (server_core.cc refuses such a config as a whole).
    """

    models: tuple[ServedModel, ...]

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"The model {twice[0]!r} stands twice.", fix="give each config its own name")

    def check_labels(self, available: Mapping[str, Sequence[int]]) -> None:
        """Check that every version named is there and every label names a served version.

        Args:
            available: model -> its versions on disk.

        Raises:
            ConfigError: naming the model, the label and the versions that are served.
        """
        for model in self.models:
            there = available.get(model.name, ())
            missing = set(model.policy.versions) - set(there) if isinstance(model.policy, Specific) else set()
            if missing:
                raise ConfigError(
                    f"The model {model.name!r} has no version {min(missing)}, which its policy asks for.",
                    fix=f"versions there are: {_listed(sorted(there))}",
                )
            served = model.served(there)
            for label, version in model.labels.items():
                if version not in served:
                    raise ConfigError(
                        f"The label {label!r} of {model.name!r} names version {version}, not served.",
                        fix=f"versions served: {_listed(served)}; e.g. {label}: {max(served, default=1)}",
                    )

    def to_proto(self) -> Any:
        made = serving_message("ModelServerConfig")()
        made.model_config_list.config.extend(model.to_proto() for model in self.models)
        return made

    @classmethod
    def from_proto(cls, config: Any) -> ModelServerConfig:
        """Read a ModelServerConfig message.

        Raises:
            ConfigError: it is empty, has a custom model config, or a model in it is wrong.
        """
        kind = config.WhichOneof("config")
        if kind != "model_config_list":
            raise ConfigError(
                f"The config holds {'a ' + kind if kind else 'nothing'}.",
                fix="tensorflow_model_server takes model_config_list { config { name: … base_path: … } }",
            )
        return cls(tuple(ServedModel.from_proto(model) for model in config.model_config_list.config))

    def to_text(self) -> str:
        return print_text(self.to_proto())

    @classmethod
    def from_text(cls, text: str, *, where: str | None = None) -> ModelServerConfig:
        """Read a models.config.

        Raises:
            ConfigError: not text proto of this message (with line and column), or wrong as `from_proto` says.
        """
        return _read("ModelServerConfig", cls.from_proto, text, where)


@dataclass(frozen=True)
class BatchingParameters:
    """A batching.config; None leaves the server's own default. Sizes are rows, times are microseconds.

    Raises:
        ConfigError: a number out of range, or allowed_batch_sizes that no batch session takes.
    """

    max_batch_size: int | None = None
    batch_timeout_micros: int | None = None
    max_enqueued_batches: int | None = None
    num_batch_threads: int | None = None
    thread_pool_name: str | None = None
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool | None = None
    max_execution_batch_size: int | None = None

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            value, lowest = getattr(self, name), 0 if name == "batch_timeout_micros" else 1
            if value is not None and value < lowest:
                raise ConfigError(f"{name} is {value}.", fix=f"{lowest} or more, e.g. {name} {{ value: 32 }}")
        if self.enable_large_batch_splitting and self.max_execution_batch_size is None:
            raise ConfigError(
                "enable_large_batch_splitting is set without max_execution_batch_size.",
                fix="name the largest batch to run, e.g. max_execution_batch_size { value: 32 }",
            )
        if self.enable_large_batch_splitting and (self.max_execution_batch_size or 0) > self._largest_request:
            raise ConfigError(
                f"max_execution_batch_size is {self.max_execution_batch_size}, and max_batch_size is {self._largest_request}.",
                fix="splitting is for requests larger than a batch: max_batch_size is the larger of the two",
            )
        self._check_allowed()

    @property
    def _largest_request(self) -> int:
        return self.max_batch_size or DEFAULT_MAX_BATCH_SIZE

    def _check_allowed(self) -> None:
        """The last is max_batch_size, with splitting too (servables/tensorflow/bundle_factory_util.cc). That they rise is a
        rule of ours: the server takes them as they are, and pads to the first that is large enough."""
        sizes = self.allowed_batch_sizes
        if not sizes:
            return
        largest = self._largest_request
        if list(sizes) != sorted(set(sizes)) or sizes[0] < 1:
            raise ConfigError(f"allowed_batch_sizes is {list(sizes)}.", fix="rising sizes, e.g. 1, 8, 32")
        if sizes[-1] != largest:
            raise ConfigError(
                f"The last of allowed_batch_sizes is {sizes[-1]}, and max_batch_size is {largest}.",
                fix=f"the last one must equal max_batch_size, e.g. {_listed((*sizes[:-1], largest))}",
            )

    def to_proto(self) -> Any:
        made = serving_message("BatchingParameters")(
            allowed_batch_sizes=self.allowed_batch_sizes,
            pad_variable_length_inputs=self.pad_variable_length_inputs,
        )
        for name in _WRAPPED:
            value = getattr(self, name)
            if value is not None:
                getattr(made, name).value = value
        return made

    @classmethod
    def from_proto(cls, config: Any) -> BatchingParameters:
        wrapped = {name: getattr(config, name).value for name in _WRAPPED if config.HasField(name)}
        return cls(
            allowed_batch_sizes=tuple(config.allowed_batch_sizes),
            pad_variable_length_inputs=config.pad_variable_length_inputs,
            **wrapped,
        )

    def to_text(self) -> str:
        return print_text(self.to_proto())

    @classmethod
    def from_text(cls, text: str, *, where: str | None = None) -> BatchingParameters:
        """Read a batching.config.

        Raises:
            ConfigError: not text proto of this message, or a value is wrong.
        """
        return _read("BatchingParameters", cls.from_proto, text, where)


_NUMBERS = (
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
    "max_execution_batch_size",
)
_WRAPPED = (*_NUMBERS, "thread_pool_name", "enable_large_batch_splitting")
"""Fields that stand in a wrapper message, so that absent and zero differ."""


@dataclass(frozen=True)
class MonitoringConfig:
    """A monitoring.config: Prometheus metrics on the REST port.

    Raises:
        ConfigError: the path does not begin with a slash.
    """

    enable: bool = True
    path: str = PROMETHEUS_PATH

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ConfigError(
                f"The path of the metrics is {self.path!r}.",
                fix=f'it begins with a slash, e.g. path: "{PROMETHEUS_PATH}"',
            )

    def to_proto(self) -> Any:
        prometheus = {"enable": self.enable, "path": self.path}
        return serving_message("MonitoringConfig")(prometheus_config=prometheus)

    @classmethod
    def from_proto(cls, config: Any) -> MonitoringConfig:
        return cls(config.prometheus_config.enable, config.prometheus_config.path or PROMETHEUS_PATH)

    def to_text(self) -> str:
        return print_text(self.to_proto())

    @classmethod
    def from_text(cls, text: str, *, where: str | None = None) -> MonitoringConfig:
        """Read a monitoring.config.

        Raises:
            ConfigError: not text proto of this message, or the path is wrong.
        """
        return _read("MonitoringConfig", cls.from_proto, text, where)


def parse_text(name: str, text: str, *, where: str | None = None) -> Any:
    """Parse text proto as the message `tensorflow.serving.<name>`.

    Raises:
        ConfigError: with the line, the column and the unknown field or wrong value.
    """
    try:
        return text_format.Parse(text, serving_message(name)(), descriptor_pool=pool())
    except (text_format.ParseError, UnicodeDecodeError) as exc:
        raise ConfigError(
            f"The text is no {name}: {exc}",
            where=where,
            fix="compare it with the file of this kind that `tfbundle render` writes into serving/",
        ) from exc


def _read(name: str, build: Callable[[Any], T], text: str, where: str | None) -> T:
    proto = parse_text(name, text, where=where)
    try:
        return build(proto)
    except ConfigError as exc:
        raise ConfigError(exc.what, where=where, fix=exc.fix) from exc


def print_text(proto: Any) -> str:
    """A message as text proto, UTF-8 as it is, one field a line."""
    return text_format.MessageToString(proto, as_utf8=True, descriptor_pool=pool())


def _policy(config: Any) -> VersionPolicy:
    kind = config.model_version_policy.WhichOneof("policy_choice")
    if kind == "specific":
        return Specific(tuple(config.model_version_policy.specific.versions))
    if kind == "all":
        return AllVersions()
    # num_versions 0 and an absent policy both mean the highest one (file_system_storage_path_source.proto).
    return Latest(config.model_version_policy.latest.num_versions or 1)


def _platform(config: Any) -> str:
    """`model_platform`, or the deprecated `model_type: TENSORFLOW`."""
    if config.model_type == 1:
        return TENSORFLOW
    if not config.model_platform:
        fix = f'model_platform: "{TENSORFLOW}"'
        raise ConfigError(f"The model {config.name!r} has no model_platform.", fix=fix)
    return str(config.model_platform)


def _logging(config: Any) -> RequestLogging | None:
    if not config.HasField("logging_config"):
        return None
    logging = config.logging_config
    if logging.HasField("custom_logging_config") or logging.sampling_config.per_task_sampling_configs:
        raise ConfigError(
            f"The logging_config of the model {config.name!r} has custom or per-task settings.",
            fix="log_collector_config and sampling_config { sampling_rate: … } are what can be set",
        )
    collector = logging.log_collector_config
    return RequestLogging(collector.type, collector.filename_prefix, logging.sampling_config.sampling_rate)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers) or "none"
