"""monitoring.config: values survive text proto, a wrong path is explained."""

from __future__ import annotations

import pytest

from serving.config.monitoring import MonitoringConfig
from serving.errors import ConfigError


def test_monitoring_survives_text() -> None:
    config = MonitoringConfig(path="/metrics")
    assert MonitoringConfig.from_text(config.to_text()) == config
    assert (
        MonitoringConfig.from_text("prometheus_config { enable: true }").path
        == "/monitoring/prometheus/metrics"
    )
    with pytest.raises(ConfigError, match="'metrics'"):
        MonitoringConfig.from_text('prometheus_config { enable: true, path: "metrics" }')
