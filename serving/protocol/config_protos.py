"""Config messages of TensorFlow Serving for which tensorflow-serving-api has no module.

Names, field numbers and types are those of the proto files in tensorflow/serving: `config/monitoring_config.proto`,
`config/ssl_config.proto`, and BatchingParameters of `servables/tensorflow/session_bundle_config.proto`, the message of a
batching parameters file.
"""

from __future__ import annotations

from google.protobuf import descriptor_pb2

_PACKAGE = "tensorflow.serving"
_WRAPPERS = "google/protobuf/wrappers.proto"
_INT64 = "google.protobuf.Int64Value"

Field = tuple[str, int, str]
"""Name, number and type of a field; the type is a scalar (`bool`, `repeated int64`) or the full name of a message."""

MESSAGES: dict[str, dict[str, tuple[Field, ...]]] = {
    "tensorflow_serving/config/monitoring_config.proto": {
        "PrometheusConfig": (("enable", 1, "bool"), ("path", 2, "string")),
        "MonitoringConfig": (("prometheus_config", 1, "tensorflow.serving.PrometheusConfig"),),
    },
    "tensorflow_serving/config/ssl_config.proto": {
        "SSLConfig": (
            ("server_key", 1, "string"),
            ("server_cert", 2, "string"),
            ("custom_ca", 3, "string"),
            ("client_verify", 4, "bool"),
        ),
    },
    "tensorflow_serving/servables/tensorflow/session_bundle_config.proto": {
        "BatchingParameters": (
            ("max_batch_size", 1, _INT64),
            ("batch_timeout_micros", 2, _INT64),
            ("max_enqueued_batches", 3, _INT64),
            ("num_batch_threads", 4, _INT64),
            ("thread_pool_name", 5, "google.protobuf.StringValue"),
            ("allowed_batch_sizes", 6, "repeated int64"),
            ("pad_variable_length_inputs", 7, "bool"),
            ("enable_large_batch_splitting", 8, "google.protobuf.BoolValue"),
            ("max_execution_batch_size", 9, _INT64),
        ),
    },
}


def config_files() -> list[descriptor_pb2.FileDescriptorProto]:
    """Return the files as descriptors; the only file they import is `google/protobuf/wrappers.proto`."""
    return [_file(path, messages) for path, messages in MESSAGES.items()]


def _file(path: str, messages: dict[str, tuple[Field, ...]]) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name=path, package=_PACKAGE, syntax="proto3")
    if any(kind.startswith("google.protobuf.") for fields in messages.values() for _, _, kind in fields):
        file.dependency.append(_WRAPPERS)
    for name, fields in messages.items():
        file.message_type.add(name=name, field=[field_descriptor(*field) for field in fields])
    return file


def field_descriptor(name: str, number: int, kind: str) -> descriptor_pb2.FieldDescriptorProto:
    """Return the descriptor of a field; see `Field`."""
    field = descriptor_pb2.FieldDescriptorProto(name=name, number=number)
    label = "REPEATED" if kind.startswith("repeated ") else "OPTIONAL"
    field.label = descriptor_pb2.FieldDescriptorProto.Label.Value(f"LABEL_{label}")
    scalar = kind.removeprefix("repeated ")
    if "." in scalar:
        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{scalar}"
    else:
        field.type = descriptor_pb2.FieldDescriptorProto.Type.Value(f"TYPE_{scalar.upper()}")
    return field
