"""TensorFlow Serving's protobuf messages and services without TensorFlow.

The classes are made from `tf_serving.desc`, a FileDescriptorSet (see `serving.protocol.extract`), in a
descriptor pool of their own: TensorFlow, which registers the same names in protobuf's default pool, can be
imported beside it. A message of this pool and one of TensorFlow's are different classes; bytes are what
they share.

    PredictRequest = message("tensorflow.serving.PredictRequest")
    request = PredictRequest(model_spec={"name": "digits"})
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import EnumDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"
MODEL_SERVICE = "tensorflow.serving.ModelService"
SERVICES = (PREDICTION_SERVICE, MODEL_SERVICE)
"""Full names of the services that a model server answers, as reflection lists them."""

DEFAULT_SIGNATURE = "serving_default"
"""What TensorFlow Serving takes when a request names no signature (tensorflow/cc/saved_model/signature_constants.h)."""

_DESCRIPTORS = Path(__file__).with_name("tf_serving.desc")


@cache
def pool() -> DescriptorPool:
    """The pool with every file of `tf_serving.desc`; give it to reflection, text_format and json_format."""
    return new_pool()


def new_pool() -> DescriptorPool:
    """A pool of one's own with every file of `tf_serving.desc`, to which further files may be added."""
    descriptors = descriptor_pb2.FileDescriptorSet.FromString(_DESCRIPTORS.read_bytes())
    made = DescriptorPool()
    for file in descriptors.file:
        made.AddSerializedFile(file.SerializeToString())
    return made


@cache
def message(full_name: str) -> Any:
    """The class of a message, for example `tensorflow.TensorProto`.

    Typed as Any: its fields are known at run time alone.

    Raises:
        KeyError: there is no message of this name.
    """
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(full_name))


def serving_message(name: str) -> Any:
    """The class of a message in package `tensorflow.serving`: `serving_message("PredictRequest")`."""
    return message(f"tensorflow.serving.{name}")


def service(full_name: str) -> ServiceDescriptor:
    """The descriptor of a service: its methods with their input and output types.

    Raises:
        KeyError: there is no service of this name.
    """
    return pool().FindServiceByName(full_name)


def enum(full_name: str) -> EnumDescriptor:
    """The descriptor of an enum: `enum("tensorflow.DataType").values_by_name["DT_FLOAT"].number`.

    Raises:
        KeyError: there is no enum of this name.
    """
    return pool().FindEnumTypeByName(full_name)
