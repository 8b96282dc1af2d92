"""monitoring.config: Prometheus metrics of tensorflow_model_server (`--monitoring_config_file`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from serving.config.text_proto import ConfigFile
from serving.errors import ConfigError
from serving.protocol.messages import serving_message

PROMETHEUS_PATH = "/monitoring/prometheus/metrics"
"""Path of the metrics if the config does not set one (util/prometheus_exporter.cc)."""


@dataclass(frozen=True)
class MonitoringConfig(ConfigFile):
    """The content of a monitoring.config: Prometheus metrics on the REST port.

    Raises:
        ConfigError: the path does not begin with a slash.
    """

    MESSAGE: ClassVar[str] = "MonitoringConfig"

    enable: bool = True
    path: str = PROMETHEUS_PATH

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ConfigError(
                f"The path of the metrics must begin with a slash, got {self.path!r}.",
                fix=f'write e.g. path: "{PROMETHEUS_PATH}"',
                code="TFB6103",
            )

    def to_proto(self) -> Any:
        """Return a MonitoringConfig message."""
        prometheus = {"enable": self.enable, "path": self.path}
        return serving_message(self.MESSAGE)(prometheus_config=prometheus)

    @classmethod
    def from_proto(cls, config: Any) -> MonitoringConfig:
        """Read a MonitoringConfig message.

        Raises:
            ConfigError: the path does not begin with a slash.
        """
        return cls(config.prometheus_config.enable, config.prometheus_config.path or PROMETHEUS_PATH)
