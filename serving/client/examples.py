"""tf.Examples of Classify and Regress requests as messages and as JSON, and the answers to such requests.

A feature is one list of floats, integers or bytes (tensorflow/core/example/feature.proto): booleans and integers become
int64, floats float32, and both str and bytes become bytes.
"""

from __future__ import annotations

import base64
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from serving.errors import ProtocolError, TensorError
from serving.protocol.messages import message
from serving.protocol.tensors import as_array, string_bytes

Features = Mapping[str, npt.ArrayLike]
Example = Features | bytes
"""Features by name, or a serialized tf.Example."""

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
VERBS = {CLASSIFY: "Classify", REGRESS: "Regress"}
"""Method name of a signature -> the RPC that runs it; REST uses the same names in lower case."""


def to_message(example: Example) -> Any:
    """Return an example as a `tensorflow.Example` message.

    Raises:
        TensorError: the bytes are not a serialized tf.Example, the example is neither bytes nor a mapping, or no feature can
            hold the values.
    """
    proto = message("tensorflow.Example")()
    if isinstance(example, bytes | bytearray | memoryview):
        try:
            proto.ParseFromString(bytes(example))
        except DecodeError as exc:
            raise TensorError(
                f"The bytes are not a serialized tf.Example: {exc}.", fix="give a dict of features", code="TFB7103"
            ) from exc
        return proto
    given: object = example
    if not isinstance(given, Mapping):
        fix = "give a dict of features, or a serialized tf.Example"
        raise TensorError(
            f"The example {reprlib.repr(example)} is neither a mapping nor bytes.", fix=fix, code="TFB7103"
        )
    for name, values in given.items():
        try:
            string_bytes(name)  # a name is a text that UTF-8 can hold
            _fill(proto.features.feature[name], name, as_array(values))
        except Exception as exc:
            reason = exc.what if isinstance(exc, TensorError) else str(exc)
            fix = "give floats, integers, text or bytes, e.g. [0.5, 1.0]"
            raise TensorError(
                f"The feature {name!r} cannot be in a tf.Example: {reason.rstrip('.')}.", fix=fix, code="TFB7103"
            ) from exc
    return proto


def _fill(feature: Any, name: str, array: npt.NDArray[Any]) -> None:
    if np.ma.is_masked(array):
        raise TensorError("It has masked elements", code="TFB7103")
    if array.dtype.kind in "biu":
        feature.int64_list.value.extend(map(int, array.ravel().tolist()))
        return
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            feature.float_list.value.extend(array.ravel().astype(np.float32).tolist())
        return
    flat = array.ravel().tolist()
    if array.dtype.kind not in "USO" or not all(isinstance(value, (str, bytes)) for value in flat):
        raise TensorError(f"It holds {array.dtype}; a tf.Example can hold floats, integers or bytes.", code="TFB7103")
    feature.bytes_list.value.extend(map(string_bytes, flat))


def to_json(example: Any) -> dict[str, Any]:
    """Return a `tensorflow.Example` message in TensorFlow Serving's JSON form (util/json_tensor.cc).

    Floats stay Python floats, which JSON writes with a point or an exponent: the server reads `1` as an integer.
    """
    values_by_name: dict[str, Any] = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        values = list(getattr(feature, kind).value) if kind else []
        if kind == "bytes_list":
            values = [{"b64": base64.b64encode(value).decode("ascii")} for value in values]
        values_by_name[name] = values
    return values_by_name


EXAMPLES = "inputs"
"""The input of Classify and Regress signatures, which holds serialized tf.Examples."""

_NOT_THE_SERVER = "check that the target is a TensorFlow Serving server"

Classes = list[list[tuple[str, float]]]
"""For each example, its classes as (label, score) pairs."""


def classes_as_outputs(rows: Classes) -> dict[str, npt.NDArray[Any]]:
    """Return classes as the signature's outputs: `classes` as objects [examples, n], `scores` as float32 [examples, n].

    Raises:
        ProtocolError: the examples have different numbers of classes.
    """
    counts = {len(row) for row in rows}
    if len(counts) > 1:
        what = f"The answer to classify has {min(counts)} classes for one example and {max(counts)} for another."
        raise ProtocolError(what, fix=_NOT_THE_SERVER)
    labels = np.empty((len(rows), *counts), np.object_)
    labels.reshape(-1)[:] = [label for row in rows for label, _ in row]
    return {"classes": labels, "scores": np.array([[score for _, score in row] for row in rows], np.float32)}


def classes_from_proto(result: Any) -> Classes:
    """Return the classes in a ClassificationResult message."""
    return [[(item.label, item.score) for item in example.classes] for example in result.classifications]


def classes_from_json(answer: Mapping[str, Any]) -> Classes:
    """Return the classes in the JSON of an answer to classify.

    Raises:
        ProtocolError: the answer has another form.
    """
    try:
        return [[(str(label), float(score)) for label, score in example] for example in answer["results"]]
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as exc:
        raise ProtocolError(f"The answer to classify cannot be read: {exc}.", fix=_NOT_THE_SERVER) from exc


def values_from_json(answer: Mapping[str, Any]) -> list[float]:
    """Return the numbers in the JSON of an answer to regress.

    Raises:
        ProtocolError: the answer has another form.
    """
    try:
        return [float(value) for value in answer["results"]]
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        raise ProtocolError(f"The answer to regress cannot be read: {exc}.", fix=_NOT_THE_SERVER) from exc


def serialized_examples(proto: Any) -> list[bytes]:
    """Return the serialized tf.Examples of a `tensorflow.serving.Input` message.

    A context is put before each example, so that the example's own features override those of the context.
    """
    context = b""
    example_list = proto.example_list
    if proto.WhichOneof("kind") == "example_list_with_context":
        example_list = proto.example_list_with_context
        context = example_list.context.SerializeToString()
    return [context + example.SerializeToString() for example in example_list.examples]


def to_messages(examples: Sequence[Example]) -> list[Any]:
    """Return examples as `tensorflow.Example` messages; errors as in `to_message`."""
    return [to_message(example) for example in examples]
