"""models.config: the models that tensorflow_model_server serves (`--model_config_file`).

Constructors reject what no server accepts; `ModelServerConfig.check_labels` checks what depends on the versions on disk.

    config = ModelServerConfig((ServedModel("digits", "/models/digits", labels={"stable": 1}),))
    Path("models.config").write_text(config.to_text())
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from serving.config.request_logging import RequestLogging, logging_from_proto, write_logging
from serving.config.text_proto import ConfigFile
from serving.config.version_policy import (
    Latest,
    Specific,
    VersionPolicy,
    policy_from_proto,
    served_versions,
    write_policy,
)
from serving.errors import ConfigError
from serving.protocol.messages import serving_message

TENSORFLOW = "tensorflow"
"""The only model platform of tensorflow_model_server (model_servers/model_platform_types.h)."""

_URI = re.compile(r"^[a-z][a-z0-9+.\-]*://[^/]")


@dataclass(frozen=True)
class ServedModel:
    """One model of a models.config.

    Attributes:
        name: the name that requests use.
        base_path: absolute path or URI of the folder that holds the version folders.
        policy: which versions are served.
        labels: label -> version; a request may give a label instead of a version.
        platform: always `tensorflow`.
        logging: logging of sampled requests; None for no logging.

    Raises:
        ConfigError: the name or a label is empty, the base path is not absolute, or the platform is unknown.
    """

    name: str
    base_path: str
    policy: VersionPolicy = field(default_factory=Latest)
    labels: Mapping[str, int] = field(default_factory=dict)
    platform: str = TENSORFLOW
    logging: RequestLogging | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError(
                f"The model at {self.base_path!r} has no name.", fix='set one, e.g. name: "digits"', code="TFB6102"
            )
        if not (self.base_path.startswith("/") or _URI.match(self.base_path)):
            raise ConfigError(
                f"The model {self.name!r} has the base_path {self.base_path!r}, which is not absolute.",
                fix=f'use an absolute path or a URI, e.g. base_path: "/models/{self.name}"',
                code="TFB6102",
            )
        if self.platform != TENSORFLOW:
            raise ConfigError(
                f"The model {self.name!r} has the unknown model_platform {self.platform!r}.",
                fix=f'set model_platform: "{TENSORFLOW}", the only one that is supported',
                code="TFB6102",
            )
        if "" in self.labels:
            raise ConfigError(
                f"The model {self.name!r} has an empty label.", fix='give it a name, e.g. key: "stable"', code="TFB6102"
            )

    def served(self, available: Sequence[int]) -> tuple[int, ...]:
        """Return the versions that a server serves when `available` are on disk, in ascending order."""
        return served_versions(self.policy, available)

    def check_versions(self, available: Sequence[int]) -> None:
        """Check that the policy's versions exist and that every label points to a served version.

        Args:
            available: the versions on disk.

        Raises:
            ConfigError: with the model, the label and the versions that are there.
        """
        missing = set(self.policy.versions) - set(available) if isinstance(self.policy, Specific) else set()
        if missing:
            raise ConfigError(
                f"The model {self.name!r} has no version {min(missing)}, which its version policy names.",
                fix=f"choose one of the versions on disk: {_listed(sorted(available))}",
                code="TFB6102",
            )
        served = self.served(available)
        for label, version in self.labels.items():
            if version not in served:
                raise ConfigError(
                    f"The label {label!r} of {self.name!r} points to version {version}, which is not served.",
                    fix=f"choose one of the served versions: {_listed(served)}; e.g. {label}: {max(served, default=1)}",
                    code="TFB6102",
                )

    def to_proto(self) -> Any:
        """Return a ModelConfig message."""
        proto = serving_message("ModelConfig")(name=self.name, base_path=self.base_path, model_platform=self.platform)
        write_policy(self.policy, proto.model_version_policy)
        proto.version_labels.update(self.labels)
        if self.logging is not None:
            write_logging(self.logging, proto.logging_config)
        return proto

    @classmethod
    def from_proto(cls, config: Any) -> ServedModel:
        """Read a ModelConfig message.

        Raises:
            ConfigError: a value is missing or wrong.
        """
        return cls(
            config.name,
            config.base_path,
            policy_from_proto(config.model_version_policy),
            dict(config.version_labels),
            _platform(config),
            logging_from_proto(config),
        )


@dataclass(frozen=True)
class ModelServerConfig(ConfigFile):
    """The content of a models.config.

    Raises:
        ConfigError: two models have the same name (server_core.cc refuses such a config as a whole).
    """

    MESSAGE: ClassVar[str] = "ModelServerConfig"

    models: tuple[ServedModel, ...]

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ConfigError(
                f"The model {repeated[0]!r} is listed twice.", fix="give each model its own name", code="TFB6102"
            )

    def check_labels(self, available: Mapping[str, Sequence[int]]) -> None:
        """Check that the policies' versions exist and that every label points to a served version.

        Args:
            available: model -> its versions on disk.

        Raises:
            ConfigError: with the model, the label and the versions that are there.
        """
        for model in self.models:
            model.check_versions(available.get(model.name, ()))

    def to_proto(self) -> Any:
        """Return a ModelServerConfig message."""
        proto = serving_message(self.MESSAGE)()
        proto.model_config_list.config.extend(model.to_proto() for model in self.models)
        return proto

    @classmethod
    def from_proto(cls, config: Any) -> ModelServerConfig:
        """Read a ModelServerConfig message.

        Raises:
            ConfigError: the message is empty, has a custom model config, or a model in it is wrong.
        """
        kind = config.WhichOneof("config")
        if kind != "model_config_list":
            raise ConfigError(
                f"The config must hold a model_config_list, got {kind or 'nothing'}.",
                fix="write model_config_list { config { name: … base_path: … model_platform: … } }",
                code="TFB6102",
            )
        return cls(tuple(ServedModel.from_proto(model) for model in config.model_config_list.config))


def _platform(config: Any) -> str:
    """Return `model_platform`, also for the deprecated `model_type: TENSORFLOW`."""
    if config.model_type == 1:
        return TENSORFLOW
    if not config.model_platform:
        fix = f'set model_platform: "{TENSORFLOW}"'
        raise ConfigError(f"The model {config.name!r} has no model_platform.", fix=fix, code="TFB6102")
    return str(config.model_platform)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers) or "none"
