"""Logging of sampled requests, as a models.config sets it per model (config/logging_config.proto)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from serving.errors import ConfigError


@dataclass(frozen=True)
class RequestLogging:
    """Logging of a model's sampled requests.

    Attributes:
        collector: type of the log collector; tensorflow_model_server has none built in.
        filename_prefix: where the collector writes.
        sampling_rate: share of the requests that is logged, 0 to 1.

    Raises:
        ConfigError: the rate is not between 0 and 1.
    """

    collector: str
    filename_prefix: str
    sampling_rate: float

    def __post_init__(self) -> None:
        if not 0 <= self.sampling_rate <= 1:
            raise ConfigError(
                f"sampling_rate must be between 0 and 1, got {self.sampling_rate}.", fix="set e.g. 0.01", code="TFB6103"
            )


def logging_from_proto(model_config: Any) -> RequestLogging | None:
    """Read the logging settings of a ModelConfig message; None if it has none.

    Raises:
        ConfigError: they hold custom or per-task settings, or a wrong rate.
    """
    if not model_config.HasField("logging_config"):
        return None
    logging = model_config.logging_config
    if logging.HasField("custom_logging_config") or logging.sampling_config.per_task_sampling_configs:
        raise ConfigError(
            f"The logging_config of the model {model_config.name!r} has custom or per-task settings.",
            fix="set only log_collector_config and sampling_config { sampling_rate: … }",
            code="TFB6103",
        )
    collector = logging.log_collector_config
    return RequestLogging(collector.type, collector.filename_prefix, logging.sampling_config.sampling_rate)


def write_logging(logging: RequestLogging, proto: Any) -> None:
    """Fill a LoggingConfig message."""
    proto.log_collector_config.type = logging.collector
    proto.log_collector_config.filename_prefix = logging.filename_prefix
    proto.sampling_config.sampling_rate = logging.sampling_rate
