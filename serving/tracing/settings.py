"""Checks of the OTEL_* environment variables, which the SDK would report late, or answer with a default.

The variables and their values are those of the OpenTelemetry specification ("Environment Variable Specification", "OTLP exporter
configuration").
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from serving.errors import ConfigError

EXPORTERS = ("otlp", "console", "none")
PROTOCOL = "http/protobuf"
_SAMPLERS = (
    "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio",
)  # fmt: skip
_OTLP = ("OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_")
"""Prefixes of the exporter's variables; the first one wins."""

_NUMBERS = (
    "OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT",
)  # fmt: skip


def exporter_name(environment: Mapping[str, str]) -> str:
    """Return the exporter that OTEL_TRACES_EXPORTER names; `otlp` by default."""
    return environment.get("OTEL_TRACES_EXPORTER", "").strip().lower() or EXPORTERS[0]


def otlp_endpoint(environment: Mapping[str, str]) -> str:
    """Return the URL that spans are sent to, for messages."""
    own = environment.get(f"{_OTLP[0]}ENDPOINT", "")
    return own or f"{environment.get(f'{_OTLP[1]}ENDPOINT') or 'http://localhost:4318'}".rstrip("/") + "/v1/traces"


def check_environment(environment: Mapping[str, str]) -> None:
    """Raise if a variable has a value that cannot be followed.

    Raises:
        ConfigError: the first such variable, with the values that it may have.
    """
    _check_choice(environment, "OTEL_TRACES_EXPORTER", EXPORTERS)
    _check_choice(environment, "OTEL_TRACES_SAMPLER", _SAMPLERS)
    if environment.get("OTEL_TRACES_SAMPLER", "").strip().lower().endswith("traceidratio"):
        _check_number(environment, "OTEL_TRACES_SAMPLER_ARG", 0.0, 1.0, "a number from 0 to 1")
    for name in _NUMBERS:
        _check_number(environment, name, math.ulp(0.0), math.inf, "a number above 0")
    for prefix in _OTLP:
        _check_choice(environment, f"{prefix}PROTOCOL", (PROTOCOL,))
        _check_choice(environment, f"{prefix}COMPRESSION", ("none", "gzip", "deflate"))
        _check_url(environment, f"{prefix}ENDPOINT")
        for kind in ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"):
            _check_file(environment, f"{prefix}{kind}")


def wrong(name: str, value: str, expected: str) -> ConfigError:
    """Return the error of a variable with a wrong value."""
    what = f"The environment variable {name} is {value!r}; it has to be {expected}."
    return ConfigError(what, fix=f"set {name} to {expected}, or unset it", code="TFB6401")


def _check_choice(environment: Mapping[str, str], name: str, choices: tuple[str, ...]) -> None:
    value = environment.get(name, "").strip()
    if value and value.lower() not in choices:
        raise wrong(name, value, choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}")


def _check_number(environment: Mapping[str, str], name: str, least: float, most: float, expected: str) -> None:
    value = environment.get(name, "").strip()
    if not value:
        return
    try:
        is_right = least <= float(value) <= most
    except ValueError:
        is_right = False
    if not is_right:
        raise wrong(name, value, expected)


def _check_url(environment: Mapping[str, str], name: str) -> None:
    value = environment.get(name, "").strip()
    if not value:
        return
    try:
        parts = urlsplit(value)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_url = False
    if not is_url:
        raise wrong(name, value, "a URL such as http://collector:4318")


def _check_file(environment: Mapping[str, str], name: str) -> None:
    value = environment.get(name, "").strip()
    if value and not Path(value).is_file():
        raise wrong(name, value, "the path of a file in PEM form")
