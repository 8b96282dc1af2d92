"""Write `tf_serving.desc` (descriptors of TensorFlow Serving's messages and services) and `tf_ops.txt` (TensorFlow's operators).

They are taken from the installed tensorflow-serving-api and TensorFlow, so that nothing else needs either.

    python -m serving.protocol.extract

Run it after an upgrade of TensorFlow, and update `EXTRACTED_FROM`. New operators must first be judged: see
`serving.protocol.unsafe_ops`. Only `extract` and `operators` import TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2

from serving.protocol.config_protos import config_files
from serving.protocol.unsafe_ops import REVIEWED

DESCRIPTORS = Path(__file__).with_name("tf_serving.desc")

EXTRACTED_FROM = {"tensorflow": "2.21.0", "tensorflow-serving-api": "2.21.0"}
"""Versions of the packages from which the shipped file was extracted."""

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
    """Return the installed versions of the packages in `EXTRACTED_FROM`."""
    return {name: version(name) for name in EXTRACTED_FROM}


def extract() -> bytes:
    """Return a serialized FileDescriptorSet, each file after those it imports; the same versions give the same bytes.

    Raises:
        ImportError: TensorFlow or tensorflow-serving-api is not installed.
    """
    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for root in _ROOTS:
        _collect(import_module(root).DESCRIPTOR, files)
    files.update({file.name: file for file in config_files()})
    return descriptor_pb2.FileDescriptorSet(file=files.values()).SerializeToString(deterministic=True)


def operators() -> list[str]:
    """Return the names of all operators that the installed TensorFlow registers, without its internal ones (`_Arg`), sorted.

    Raises:
        ImportError: TensorFlow is not installed.
    """
    session = import_module("tensorflow.python.client.pywrap_tf_session")
    op_list = import_module("tensorflow.core.framework.op_def_pb2").OpList
    registered = op_list.FromString(session.TF_GetBuffer(session.TF_GetAllOpList()))
    return sorted(op.name for op in registered.op if not op.name.startswith("_"))


def _collect(file: Any, files: dict[str, descriptor_pb2.FileDescriptorProto]) -> None:
    if file.name in files:
        return
    for dependency in file.dependencies:
        _collect(dependency, files)
    files[file.name] = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)


def main() -> None:
    """Write the files beside this module."""
    data, names = extract(), operators()
    DESCRIPTORS.write_bytes(data)
    REVIEWED.write_text("\n".join(names) + "\n", "utf-8")
    print(f"{DESCRIPTORS}: {len(data)} bytes, {REVIEWED}: {len(names)} operators from {installed_versions()}")


if __name__ == "__main__":
    main()
