"""Messages and service of the Open Inference Protocol over gRPC, made from the tables below.

The descriptors are in a pool of their own, since users' programs may have generated code with the same names. Names and numbers
are those of KServe's `grpc_predict_v2.proto`, and those of Triton's `grpc_service.proto` for what only Triton has: parameters
that are doubles or uint64, and RepositoryIndex.
"""

from __future__ import annotations

from functools import cache
from threading import RLock
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from serving.protocol.config_protos import field_descriptor

PACKAGE = "inference"
INFERENCE_SERVICE = f"{PACKAGE}.GRPCInferenceService"
"""Full name of the service, as reflection lists it."""

_FILE = "grpc_predict_v2.proto"
_PARAMETERS = "map inference.InferParameter"
_TENSOR = (("name", 1, "string"), ("datatype", 2, "string"), ("shape", 3, "repeated int64"))
_CONTENTS = (("parameters", 4, _PARAMETERS), ("contents", 5, "inference.InferTensorContents"))
_MODEL = (("name", 1, "string"), ("version", 2, "string"))

_MESSAGES: dict[str, tuple[tuple[str, int, str], ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": (("live", 1, "bool"),),
    "ServerReadyRequest": (),
    "ServerReadyResponse": (("ready", 1, "bool"),),
    "ModelReadyRequest": _MODEL,
    "ModelReadyResponse": (("ready", 1, "bool"),),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": (("name", 1, "string"), ("version", 2, "string"), ("extensions", 3, "repeated string")),
    "ModelMetadataRequest": _MODEL,
    "ModelMetadataResponse": (
        ("name", 1, "string"),
        ("versions", 2, "repeated string"),
        ("platform", 3, "string"),
        ("inputs", 4, "repeated inference.ModelMetadataResponse.TensorMetadata"),
        ("outputs", 5, "repeated inference.ModelMetadataResponse.TensorMetadata"),
    ),
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "InferParameter": (
        ("bool_param", 1, "bool"),
        ("int64_param", 2, "int64"),
        ("string_param", 3, "string"),
        ("double_param", 4, "double"),
        ("uint64_param", 5, "uint64"),
    ),
    "InferTensorContents": (
        ("bool_contents", 1, "repeated bool"),
        ("int_contents", 2, "repeated int32"),
        ("int64_contents", 3, "repeated int64"),
        ("uint_contents", 4, "repeated uint32"),
        ("uint64_contents", 5, "repeated uint64"),
        ("fp32_contents", 6, "repeated float"),
        ("fp64_contents", 7, "repeated double"),
        ("bytes_contents", 8, "repeated bytes"),
    ),
    "ModelInferRequest": (
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("id", 3, "string"),
        ("parameters", 4, _PARAMETERS),
        ("inputs", 5, "repeated inference.ModelInferRequest.InferInputTensor"),
        ("outputs", 6, "repeated inference.ModelInferRequest.InferRequestedOutputTensor"),
        ("raw_input_contents", 7, "repeated bytes"),
    ),
    "ModelInferRequest.InferInputTensor": (*_TENSOR, *_CONTENTS),
    "ModelInferRequest.InferRequestedOutputTensor": (("name", 1, "string"), ("parameters", 2, _PARAMETERS)),
    "ModelInferResponse": (
        ("model_name", 1, "string"),
        ("model_version", 2, "string"),
        ("id", 3, "string"),
        ("parameters", 4, _PARAMETERS),
        ("outputs", 5, "repeated inference.ModelInferResponse.InferOutputTensor"),
        ("raw_output_contents", 6, "repeated bytes"),
    ),
    "ModelInferResponse.InferOutputTensor": (*_TENSOR, *_CONTENTS),
    "RepositoryIndexRequest": (("repository_name", 1, "string"), ("ready", 2, "bool")),
    "RepositoryIndexResponse": (("models", 1, "repeated inference.RepositoryIndexResponse.ModelIndex"),),
    "RepositoryIndexResponse.ModelIndex": (*_MODEL, ("state", 3, "string"), ("reason", 4, "string")),
}
"""Message -> its fields: name, number and type. A nested message follows the one that it is in."""

_ONEOFS = {"InferParameter": "parameter_choice"}
"""Messages of whose fields only one is set, with the name of the choice."""

METHODS = (
    "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer", "RepositoryIndex",
)  # fmt: skip
"""The service's methods; each takes METHODRequest and answers with METHODResponse."""

_making = RLock()
"""Held while the pool or a class is made, see `serving.protocol.messages`."""


def inference_file() -> descriptor_pb2.FileDescriptorProto:
    """Return the descriptor of the file with the protocol's messages and service."""
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=PACKAGE, syntax="proto3")
    made: dict[str, descriptor_pb2.DescriptorProto] = {}
    for path, fields in _MESSAGES.items():
        outer, _, name = path.rpartition(".")
        made[path] = made[outer].nested_type.add(name=name) if outer else file.message_type.add(name=name)
        for field in fields:
            _add_field(made[path], path, *field)
    service = file.service.add(name=INFERENCE_SERVICE.removeprefix(f"{PACKAGE}."))
    for method in METHODS:
        service.method.add(
            name=method, input_type=f".{PACKAGE}.{method}Request", output_type=f".{PACKAGE}.{method}Response"
        )
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, path: str, name: str, number: int, kind: str) -> None:
    value = kind.removeprefix("map ")
    if value != kind:
        entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        entry.field.extend((field_descriptor("key", 1, "string"), field_descriptor("value", 2, value)))
        kind = f"repeated {PACKAGE}.{path}.{entry.name}"
    field = field_descriptor(name, number, kind)
    if path in _ONEOFS:
        if not message.oneof_decl:
            message.oneof_decl.add(name=_ONEOFS[path])
        field.oneof_index = 0
    message.field.append(field)


@cache
def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    pool.AddSerializedFile(inference_file().SerializeToString())
    return pool


@cache
def inference_message(name: str) -> Any:
    """Return the class of a message: `inference_message("ModelInferRequest")`.

    Raises:
        KeyError: there is no message of this name.
    """
    with _making:
        return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


def inference_service() -> ServiceDescriptor:
    """Return the descriptor of GRPCInferenceService."""
    with _making:
        return _pool().FindServiceByName(INFERENCE_SERVICE)
