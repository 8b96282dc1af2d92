"""Text proto of config files: line and column of an error, UTF-8."""

from __future__ import annotations

import pytest

from serving.config.monitoring import MonitoringConfig
from serving.config.text_proto import parse_text, print_text
from serving.errors import ConfigError


def test_an_error_has_the_line_the_column_and_the_file() -> None:
    with pytest.raises(ConfigError, match=r"not a MonitoringConfig: 2:1 : .*nonsense") as caught:
        parse_text("MonitoringConfig", "prometheus_config { enable: true }\nnonsense: 1", where="monitoring.config")
    assert caught.value.where == "monitoring.config"


def test_a_wrong_value_has_the_file_too() -> None:
    with pytest.raises(ConfigError, match="'metrics'") as caught:
        MonitoringConfig.from_text('prometheus_config { path: "metrics" }', where="monitoring.config")
    assert caught.value.where == "monitoring.config"


def test_text_is_printed_as_utf8_with_one_field_per_line() -> None:
    text = print_text(MonitoringConfig(path="/mé").to_proto())
    assert text.splitlines() == ["prometheus_config {", "  enable: true", '  path: "/mé"', "}"]
