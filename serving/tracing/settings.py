"""Checks of the OTEL_* environment variables, which the SDK would report late, or answer with a default.

The variables and their values are those of the OpenTelemetry specification ("Environment Variable Specification", "OTLP exporter
configuration").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

    def check(name: str, is_right: Callable[[str], bool], expected: str) -> None:
        value = environment.get(name, "").strip()
        if value and not _holds(is_right, value):
            raise wrong(name, value, expected)

    def check_choice(name: str, choices: tuple[str, ...]) -> None:
        check(name, lambda value: value.lower() in choices, choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}")

    check_choice("OTEL_TRACES_EXPORTER", EXPORTERS)
    check_choice("OTEL_TRACES_SAMPLER", _SAMPLERS)
    if environment.get("OTEL_TRACES_SAMPLER", "").strip().lower().endswith("traceidratio"):
        check("OTEL_TRACES_SAMPLER_ARG", lambda value: 0 <= float(value) <= 1, "a number from 0 to 1")
    for name in _NUMBERS:
        check(name, lambda value: float(value) > 0, "a number above 0")
    for prefix in _OTLP:
        check_choice(f"{prefix}PROTOCOL", (PROTOCOL,))
        check_choice(f"{prefix}COMPRESSION", ("none", "gzip", "deflate"))
        check(f"{prefix}ENDPOINT", _is_url, "a URL such as http://collector:4318")
        for kind in ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE"):
            check(f"{prefix}{kind}", lambda value: Path(value).is_file(), "the path of a file in PEM form")


def wrong(name: str, value: str, expected: str) -> ConfigError:
    """Return the error of a variable with a wrong value."""
    what = f"The environment variable {name} is {value!r}; it has to be {expected}."
    return ConfigError(what, fix=f"set {name} to {expected}, or unset it", code="TFB6401")


def _holds(is_right: Callable[[str], bool], value: str) -> bool:
    """Return whether a value is right; one that cannot be read is not."""
    try:
        return is_right(value)
    except ValueError:
        return False


def _is_url(value: str) -> bool:
    parts = urlsplit(value)
    return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
