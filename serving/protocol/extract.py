"""Write `tf_serving.desc`: the descriptors of TensorFlow Serving's messages and services.

They are taken from the installed tensorflow-serving-api and TensorFlow, so that all else needs neither.

    python -m serving.protocol.extract

Run it after a move to a newer TensorFlow, and set `EXTRACTED_FROM`. It imports TensorFlow only while it runs.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

from serving.protocol.config_protos import config_files

DESCRIPTORS = Path(__file__).with_name("tf_serving.desc")

EXTRACTED_FROM = {"tensorflow": "2.21.0", "tensorflow-serving-api": "2.21.0"}
"""Versions that the shipped file was extracted from."""

_ROOTS = (
    "tensorflow_serving.apis.prediction_service_pb2",
    "tensorflow_serving.apis.model_service_pb2",
    "tensorflow_serving.apis.prediction_log_pb2",
    "tensorflow_serving.config.model_server_config_pb2",
    "tensorflow_serving.config.platform_config_pb2",
    "tensorflow.core.example.example_pb2",
    "tensorflow.core.protobuf.saved_model_pb2",
)


def installed_versions() -> dict[str, str]:
    return {name: version(name) for name in EXTRACTED_FROM}


def extract() -> bytes:
    """A serialized FileDescriptorSet, every file after those it imports. Same versions, same bytes.

    Raises:
        ImportError: TensorFlow or tensorflow-serving-api is not installed.
    """
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for root in _ROOTS:
        _collect(import_module(root).DESCRIPTOR, files)
    files.update({file.name: file for file in config_files()})
    return descriptor_pb2.FileDescriptorSet(file=files.values()).SerializeToString(deterministic=True)


def _collect(file: Any, into: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    if file.name in into:
        return
    for dependency in file.dependencies:
        _collect(dependency, into)
    into[file.name] = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)


def main() -> None:
    data = extract()
    DESCRIPTORS.write_bytes(data)
    print(f"{DESCRIPTORS}: {len(data)} bytes from {installed_versions()}")


if __name__ == "__main__":
    main()
