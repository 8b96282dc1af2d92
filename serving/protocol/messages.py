"""TensorFlow Serving's protobuf messages and services without TensorFlow.

The classes are made from `tf_serving.desc`, a FileDescriptorSet (see `serving.protocol.extract`), in their own descriptor
pool, so that TensorFlow, which registers the same names in protobuf's default pool, can be imported too. A message of this
pool and one of TensorFlow's have different classes; they share only their bytes.

    PredictRequest = message("tensorflow.serving.PredictRequest")
    request = PredictRequest(model_spec={"name": "digits"})
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import RLock
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import EnumDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
SERVICES = (PREDICTION_SERVICE, MODEL_SERVICE)
"""Full names of a model server's services, as reflection lists them."""

DEFAULT_SIGNATURE = "serving_default"
"""The signature of requests that do not name one (tensorflow/cc/saved_model/signature_constants.h)."""

_DESCRIPTORS = Path(__file__).with_name("tf_serving.desc")


_making = RLock()
"""Held while the pool or a class is made: `cache` alone lets threads that come at once make one each, and messages of two pools
do not mix."""


@cache
def _shared_pool() -> DescriptorPool:
    return new_pool()


def pool() -> DescriptorPool:
    """Return the shared pool with every file of `tf_serving.desc`, for reflection, text_format and json_format.

    All threads get the same pool, even if they call this for the first time together.
    """
    with _making:
        return _shared_pool()


def new_pool() -> DescriptorPool:
    """Return a new pool with every file of `tf_serving.desc`, to which further files may be added."""
    descriptors = descriptor_pb2.FileDescriptorSet.FromString(_DESCRIPTORS.read_bytes())
    new = DescriptorPool()
    for file in descriptors.file:
        new.AddSerializedFile(file.SerializeToString())
    return new


@cache
def message(full_name: str) -> Any:
    """Return the class of a message, for example of `tensorflow.TensorProto`.

    It is typed as Any because its fields are known only at run time.

    Raises:
        KeyError: there is no message of this name.
    """
    with _making:
        return message_factory.GetMessageClass(pool().FindMessageTypeByName(full_name))


def serving_message(name: str) -> Any:
    """Return the class of a message in package `tensorflow.serving`: `serving_message("PredictRequest")`."""
    return message(f"tensorflow.serving.{name}")


def service(full_name: str) -> ServiceDescriptor:
    """Return the descriptor of a service: its methods with their input and output types.

    Raises:
        KeyError: there is no service of this name.
    """
    return pool().FindServiceByName(full_name)


def enum(full_name: str) -> EnumDescriptor:
    """Return the descriptor of an enum: `enum("tensorflow.DataType").values_by_name["DT_FLOAT"].number`.

    Raises:
        KeyError: there is no enum of this name.
    """
    return pool().FindEnumTypeByName(full_name)
