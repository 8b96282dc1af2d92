"""Flags of tensorflow_model_server in bundle.yaml: `serving.flags`, which go into every command line of the server.

Their names and values are checked against those that the server has (tensorflow/serving, model_servers/main.cc), so that a
slip is found here and not by a pod that does not start.
"""

from __future__ import annotations

from collections.abc import Mapping

from bundler.spec.problems import did_you_mean, show

SETTINGS = {
    "port": "set serving.grpc_port",
    "rest_api_port": "set serving.rest_port",
    "model_config_file": "set serving.labels and serving.versions",
    "model_name": "set the models",
    "model_base_path": "set the models",
    "monitoring_config_file": "set serving.monitoring",
    "enable_batching": "set serving.batching",
    "batching_parameters_file": "set serving.batching and its keys",
    "prefer_tflite_model": "set serving.fast_path",
    "mixed_precision": "set serving.mixed_precision",
    "grpc_channel_arguments": "change the age of connections in an overlay",
    "ssl_config_file": "add tls to kubernetes.components",
}
"""Flags that tfbundle writes itself, and what to do instead."""

Value = bool | int | float | str


def check_flags(flags: Mapping[str, Value]) -> dict[str, Value]:
    """Return the flags unchanged.

    Args:
        flags: value by name, without the leading dashes.

    Raises:
        ValueError: the server has no such flag, tfbundle writes it itself, or the value is not one of the flag's.
    """
    from serving.errors import ServingError
    from serving.server.config.flags import FLAGS, OWN, UNSUPPORTED, read_flags

    known = (FLAGS.keys() | UNSUPPORTED.keys()) - OWN.keys()
    for name, value in flags.items():
        if name in SETTINGS:
            raise ValueError(f"--{name} is written by tfbundle; {SETTINGS[name]} instead")
        if name not in known:
            raise ValueError(f"tensorflow_model_server has no flag {show(name)}{did_you_mean(name, known)}")
        if isinstance(value, str) and not value.isprintable():
            raise ValueError(f"--{name} must be one line of printable characters")
        if name in FLAGS and FLAGS[name].option is not None:
            try:
                read_flags([as_argument(name, value)])
            except ServingError as exc:
                raise ValueError(f"{exc.what} Write it e.g. as {name}: 8") from exc
    return dict(flags)


def as_argument(name: str, value: Value) -> str:
    """Return a flag as an argument of the server."""
    return f"--{name}={str(value).lower() if isinstance(value, bool) else value}"
