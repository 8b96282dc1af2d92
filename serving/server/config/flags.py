"""tensorflow_model_server's command line -> ServerOptions.

Flags are written `--name=value`, the only form that the real server reads; `--name` sets a boolean to true. An unknown flag
is an error here; the real server prints it and starts anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from serving.errors import TargetError
from serving.protocol.status import invalid_argument
from serving.server.config.options import ServerOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Flag:
    """A flag of the command line.

    Attributes:
        read: converts the flag's text to the option's value; raises ValueError.
        option: the field of ServerOptions that it sets; None for a flag without effect.
        why: why a flag has no effect.
        default: the text of the option's default, where that differs from `str` of the option's value.
    """

    read: Callable[[str], Any]
    option: str | None = None
    why: str = ""
    default: str | None = None

    def default_text(self, options: ServerOptions) -> str:
        """Return the flag's text for its option's value in `options`, which holds the defaults."""
        if self.default is not None or self.option is None:
            return self.default or ""
        value = getattr(options, self.option)
        return str(value).lower() if isinstance(value, bool) else str(value)


def _boolean(text: str) -> bool:
    value = {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    if value is None:
        raise ValueError("true or false")
    return value


def _millis(text: str) -> float:
    return int(text) / 1e3


def _micros(text: str) -> float:
    return max(int(text), 0) / 1e6


def _rest_port(text: str) -> int | None:
    return int(text) or None


def _tags(text: str) -> tuple[str, ...]:
    """Read comma-separated tags; empty text is the default tag (servables/tensorflow/saved_model_bundle_factory.cc)."""
    return tuple(text.split(",")) if text else ServerOptions.saved_model_tags


def _precision(text: str) -> str:
    """Read the mode of --mixed_precision (model_servers/main.cc); the real server ignores another text."""
    if text not in ("", "bfloat16"):
        raise ValueError("bfloat16")
    return text


def _arguments(text: str) -> tuple[tuple[str, int | str], ...]:
    pairs = (part.partition("=") for part in text.split(",") if part)
    return tuple((key, int(value) if value.lstrip("-").isdecimal() else value) for key, _, value in pairs)


def _iterations(text: str) -> int:
    return max(int(text), 1)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("a number above 0")
    return value


def _positive_millis(text: str) -> float:
    return _positive(text) / 1e3


def _hosts(text: str) -> tuple[str, ...]:
    return tuple(host.strip().lower() for host in text.split(",") if host.strip())


_IN_PYTHON = "this server runs in Python and manages its own threads and memory"

FLAGS: dict[str, Flag] = {
    "host": Flag(str, "host"),
    "port": Flag(int, "grpc_port"),
    "grpc_socket_path": Flag(str, "grpc_socket_path"),
    "rest_api_port": Flag(_rest_port, "rest_port", default="0"),
    "rest_api_num_threads": Flag(int, "rest_threads"),
    "rest_api_timeout_in_ms": Flag(_millis, "rest_timeout_seconds", default="30000"),
    "rest_api_enable_cors_support": Flag(_boolean, "rest_cors"),
    "enable_batching": Flag(_boolean, "enable_batching"),
    "batching_parameters_file": Flag(str, "batching_parameters_file"),
    "allow_version_labels_for_unavailable_models": Flag(_boolean, "allow_labels_for_unavailable"),
    "model_config_file": Flag(str, "model_config_file"),
    "model_config_file_poll_wait_seconds": Flag(int, "config_poll_seconds"),
    "model_name": Flag(str, "model_name"),
    "model_base_path": Flag(str, "model_base_path"),
    "num_load_threads": Flag(int, "num_load_threads"),
    "max_num_load_retries": Flag(int, "max_load_retries"),
    "load_retry_interval_micros": Flag(_micros, "load_retry_seconds", default="60000000"),
    "file_system_poll_wait_seconds": Flag(int, "poll_seconds"),
    "tensorflow_session_parallelism": Flag(int, "session_threads"),
    "tensorflow_intra_op_parallelism": Flag(int, "intra_op_threads"),
    "tensorflow_inter_op_parallelism": Flag(int, "inter_op_threads"),
    "ssl_config_file": Flag(str, "ssl_config_file"),
    "saved_model_tags": Flag(_tags, "saved_model_tags", default="serve"),
    "grpc_channel_arguments": Flag(_arguments, "channel_arguments", default=""),
    "grpc_max_threads": Flag(int, "grpc_threads"),
    "enable_model_warmup": Flag(_boolean, "warmup"),
    "num_request_iterations_for_warmup": Flag(_iterations, "warmup_iterations"),
    "monitoring_config_file": Flag(str, "monitoring_config_file"),
    "log_requests": Flag(str, "log_requests"),
    "log_requests_sample_rate": Flag(float, "log_requests_sample_rate"),
    "log_format": Flag(str, "log_format"),
    "enable_tracing": Flag(_boolean, "tracing"),
    "reload_base_path": Flag(str, "reload_base_path"),
    "servable_versions_always_present": Flag(_boolean, "versions_always_present"),
    "enable_signature_method_name_check": Flag(_boolean, "check_method_names"),
    "enable_grpc_healthcheck_service": Flag(_boolean, "health"),
    "enable_serialization_as_tensor_content": Flag(_boolean, "answer_as_tensor_content"),
    "enable_playground": Flag(_boolean, "playground"),
    "enable_per_model_batching_parameters": Flag(_boolean, "per_model_batching"),
    "mixed_precision": Flag(_precision, "mixed_precision"),
    "num_unload_threads": Flag(int, None, _IN_PYTHON),
    "flush_filesystem_caches": Flag(_boolean, None, _IN_PYTHON),
    "per_process_gpu_memory_fraction": Flag(float, None, _IN_PYTHON),
    "remove_unused_fields_from_bundle_metagraph": Flag(_boolean, None, _IN_PYTHON),
    "prefer_tflite_model": Flag(_boolean, "prefer_tflite"),
    "allow_unsafe_ops": Flag(_boolean, "allow_unsafe_ops"),
    "num_tflite_pools": Flag(_iterations, "tflite_pool_size"),
    "num_tflite_interpreters_per_pool": Flag(int, None, "interpreters are created as calls need them"),
    "enable_profiler": Flag(_boolean, None, "there is no profiler service"),
    "xla_cpu_compilation_enabled": Flag(_boolean, None, "the model is compiled as it was saved"),
    "xla_gpu_compilation_enabled": Flag(_boolean, None, "the model is compiled as it was saved"),
    "skip_initialize_tpu": Flag(_boolean, None, "there is no TPU"),
    "open_inference_protocol": Flag(_boolean, "open_inference_protocol"),
    "max_concurrent_rpcs": Flag(_positive, "max_concurrent_rpcs"),
    "max_request_bytes": Flag(_positive, "max_request_bytes"),
    "max_decoded_bytes": Flag(_positive, "max_decoded_bytes"),
    "max_tensor_elements": Flag(_positive, "max_tensor_elements"),
    "max_nesting": Flag(_positive, "max_nesting"),
    "max_large_bodies": Flag(_positive, "max_large_bodies"),
    "write_timeout_in_ms": Flag(_positive_millis, "write_timeout_seconds", default="30000"),
    "allowed_hosts": Flag(_hosts, "allowed_hosts", default=""),
}
"""Every flag that is understood. Those in `OWN` are not the real server's."""

_EXPECTED: dict[Callable[[str], Any], str] = {
    _boolean: "true or false", _positive: "a number above 0", _positive_millis: "a number above 0", _precision: "bfloat16",
}  # fmt: skip

OWN = {
    "host": "address to listen on; 0.0.0.0 for all",
    "enable_playground": "a page at / of the REST port",
    "open_inference_protocol": "KServe's v2 protocol too, over REST below /v2 and over gRPC",
    "log_requests": "folder for a log of requests and answers",
    "log_requests_sample_rate": "share of the requests that is logged",
    "log_format": "text or json",
    "enable_tracing": "OpenTelemetry spans of requests, sent where the OTEL_* variables say",
    "max_concurrent_rpcs": "gRPC calls at once, those that wait included; more are refused",
    "max_request_bytes": "most bytes of a request as it is sent",
    "max_decoded_bytes": "most bytes of a request once it is decoded, and of the memory that large JSON takes at once",
    "max_tensor_elements": "most elements of all tensors of a request together",
    "max_nesting": "most JSON arrays and objects inside each other",
    "max_large_bodies": "large JSON bodies that are decoded at once",
    "write_timeout_in_ms": "how long a REST client may take to read the next part of an answer",
    "reload_base_path": "folder below which a reload over gRPC may load models",
    "servable_versions_always_present": "keep a model's last version when its folder has none left",
    "allow_unsafe_ops": "load models that reach out to files, the network or Python",
    "allowed_hosts": "other names in the Host header and of pages that may post, with commas between; * for all",
}
"""Flags that the real server lacks, each with what it sets. The real server listens on all addresses, has no page at `/`, speaks
no other protocol, logs through compiled-in collectors, does not limit what a request costs, loads any model and any path that a
reload names, and sets `servable_versions_always_present` in no config that a user can write."""

UNSUPPORTED = {
    "platform_config_file": "use the flags for batching, sessions and warm-up",
    "tensorflow_session_config_file": "use --tensorflow_intra_op_parallelism and --tensorflow_inter_op_parallelism",
    "thread_pool_factory_config_file": "use --tensorflow_inter_op_parallelism",
    "use_alts_credentials": "use --ssl_config_file",
}
"""Flags of the real server that cannot be supported here, each with what to use instead."""


def parse_flags(arguments: Sequence[str]) -> ServerOptions:
    """Read a command line.

    Raises:
        TargetError: an argument is not a flag, or a flag is unknown, unsupported or has an invalid value.
        StatusError: INVALID_ARGUMENT: flags exclude each other; the text is the real server's.
    """
    return _options(read_flags(arguments))


def read_flags(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the fields of ServerOptions that a command line sets, even to their default.

    Raises:
        TargetError: as in `parse_flags`.
    """
    values: dict[str, Any] = {}
    for argument in arguments:
        name, flag, value = _read(argument)
        if flag.option is None:
            log.warning("--%s has no effect: %s.", name, flag.why)
        else:
            values[flag.option] = value
    return values


def _read(argument: str) -> tuple[str, Flag, Any]:
    name, equals_sign, text = argument.removeprefix("--").partition("=")
    if not argument.startswith("--"):
        raise TargetError(
            f"unknown argument: {argument}", fix="write flags as --name=value, e.g. --port=8500", code="TFB6001"
        )
    if name in UNSUPPORTED:
        raise TargetError(f"--{name} is not supported by the embedded server.", fix=UNSUPPORTED[name], code="TFB6001")
    if name not in FLAGS:
        near = get_close_matches(name, FLAGS, n=1)
        fix = f"did you mean --{near[0]}?" if near else "choose one of the flags that --help lists"
        raise TargetError(f"unknown argument: {argument}", fix=fix, code="TFB6001")
    flag = FLAGS[name]
    if not equals_sign:
        if flag.read is not _boolean:
            raise TargetError(f"--{name} has no value.", fix=f"write it as --{name}=value", code="TFB6002")
        text = "true"
    try:
        return name, flag, flag.read(text)
    except ValueError as exc:
        expected = _EXPECTED.get(flag.read, "a number")
        raise TargetError(
            f"--{name} must be {expected}, got {text!r}.",
            fix=f"write it like --{name}={'bfloat16' if flag.read is _precision else 1}",
            code="TFB6002",
        ) from exc


def _options(values: dict[str, Any]) -> ServerOptions:
    options = replace(ServerOptions(), **values)
    if not options.grpc_port and not options.grpc_socket_path:
        raise invalid_argument(
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
        )
    if options.rest_port == options.grpc_port:
        log.error(
            "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST API. "
            "Skipped exporting HTTP/REST API."
        )
        options = replace(options, rest_port=None)
    return options
