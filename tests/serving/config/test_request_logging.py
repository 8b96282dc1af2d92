"""Request logging of a model in models.config."""

from __future__ import annotations

import pytest

from serving.config.request_logging import RequestLogging, logging_from_proto, write_logging
from serving.errors import ConfigError
from serving.protocol.messages import serving_message


def test_settings_survive_the_message() -> None:
    model = serving_message("ModelConfig")(name="digits")
    assert logging_from_proto(model) is None
    logging = RequestLogging("file", "/logs/digits", 0.25)
    write_logging(logging, model.logging_config)
    assert logging_from_proto(model) == logging


@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_the_sampling_rate_is_between_0_and_1(rate: float) -> None:
    with pytest.raises(ConfigError, match=f"sampling_rate must be between 0 and 1, got {rate}"):
        RequestLogging("file", "/logs", rate)


def test_custom_settings_are_refused() -> None:
    model = serving_message("ModelConfig")(name="digits")
    model.logging_config.custom_logging_config.SetInParent()
    with pytest.raises(ConfigError, match="'digits' has custom or per-task settings"):
        logging_from_proto(model)
