"""Wrong OTEL_* variables are errors that name the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.errors import ConfigError
from serving.tracing.settings import check_environment, exporter_name, otlp_endpoint


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("OTEL_TRACES_EXPORTER", "jaeger", "one of otlp, console, none"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "one of always_on"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", "a URL such as http://collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:port", "a URL"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "one of none, gzip, deflate"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such/ca.pem", "a file in PEM form"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "a number above 0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "a number above 0"),
    ],
)
def test_wrong_value_is_an_error_that_names_the_variable(name: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_environment({name: value})
    assert name in caught.value.what and says in caught.value.what
    assert caught.value.code == "TFB6401"


def test_ratio_is_checked_for_the_samplers_that_take_one() -> None:
    check_environment({"OTEL_TRACES_SAMPLER": "always_on", "OTEL_TRACES_SAMPLER_ARG": "x"})
    check_environment({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"})
    for argument in ("1.5", "nan", "ten"):
        with pytest.raises(ConfigError, match="a number from 0 to 1"):
            check_environment({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": argument})


def test_right_and_empty_values_pass(tmp_path: Path) -> None:
    certificate = tmp_path / "ca.pem"
    certificate.touch()
    check_environment({})
    check_environment(
        {
            "OTEL_TRACES_EXPORTER": "OTLP", "OTEL_TRACES_SAMPLER": "", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example.com/otlp",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificate), "OTEL_BSP_MAX_QUEUE_SIZE": "4096",
        }
    )  # fmt: skip


def test_defaults_are_those_of_the_specification() -> None:
    assert exporter_name({}) == "otlp"
    assert otlp_endpoint({}) == "http://localhost:4318/v1/traces"
    assert otlp_endpoint({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1/"}) == "http://c:1/v1/traces"
    assert otlp_endpoint({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:1/x"}) == "http://c:1/x"
