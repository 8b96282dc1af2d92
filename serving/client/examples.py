"""tf.Examples for Classify and Regress: features by name -> message -> JSON, and the answers.

A feature is one list of floats, of integers or of bytes (tensorflow/core/example/feature.proto): bool and integers become
int64, floats float32, str and bytes bytes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from serving.errors import ProtocolError, TensorError
from serving.protocol.messages import message
from serving.protocol.tensors import as_array

Features = Mapping[str, npt.ArrayLike]
Example = Features | bytes
"""Features by name, or a serialized tf.Example."""

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
VERBS = {CLASSIFY: "Classify", REGRESS: "Regress"}
"""RPC of a signature's method name; over REST the same in lower case."""


def to_message(example: Example) -> Any:
    """A `tensorflow.Example` message.

    Raises:
        TensorError: bytes that are none, or values that no feature holds.
    """
    made = message("tensorflow.Example")()
    if isinstance(example, bytes):
        try:
            made.ParseFromString(example)
        except DecodeError as exc:
            raise TensorError(f"The example is no serialized tf.Example: {exc}.", fix="give a dict of features") from exc
        return made
    for name, values in example.items():
        _fill(made.features.feature[name], name, as_array(values))
    return made


def _fill(feature: Any, name: str, array: npt.NDArray[Any]) -> None:
    flat = array.ravel().tolist()
    if array.dtype.kind in "biu":
        feature.int64_list.value.extend(map(int, flat))
    elif array.dtype.kind == "f":
        feature.float_list.value.extend(flat)
    elif array.dtype.kind in "USO" and all(isinstance(value, (str, bytes)) for value in flat):
        feature.bytes_list.value.extend(v.encode() if isinstance(v, str) else v for v in flat)
    else:
        raise TensorError(
            f"The feature {name!r} holds {array.dtype}; a tf.Example has floats, integers or bytes.",
            fix="give it as one of these, e.g. [0.5, 1.0]",
        )


def to_json(example: Any) -> dict[str, Any]:
    """An example as TensorFlow Serving's JSON has it (util/json_tensor.cc); a float always has a point or an exponent."""
    out: dict[str, Any] = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        values = list(getattr(feature, kind).value) if kind else []
        if kind == "bytes_list":
            values = [{"b64": base64.b64encode(value).decode("ascii")} for value in values]
        out[name] = values
    return out


EXAMPLES = "inputs"
"""The input that Classify and Regress fill with serialized tf.Examples."""

Classes = list[list[tuple[str, float]]]
"""For each example its classes: label and score."""


def classes_as_outputs(rows: Classes) -> dict[str, npt.NDArray[Any]]:
    """The classes as the signature's outputs: `classes` as text [examples, n], `scores` as float32 [examples, n]."""
    return {
        "classes": np.array([[label for label, _ in row] for row in rows], np.str_),
        "scores": np.array([[score for _, score in row] for row in rows], np.float32),
    }


def classes_of(result: Any) -> Classes:
    """The classes in a ClassificationResult message."""
    return [[(each.label, each.score) for each in one.classes] for one in result.classifications]


def classes_of_json(answer: Mapping[str, Any]) -> Classes:
    """The classes in the JSON of an answer.

    Raises:
        ProtocolError: it has another form.
    """
    try:
        return [[(str(label), float(score)) for label, score in one] for one in answer["results"]]
    except (KeyError, TypeError, ValueError) as exc:
        raise ProtocolError(f"The answer to classify cannot be read: {exc}.") from exc


def values_of_json(answer: Mapping[str, Any]) -> list[float]:
    """The numbers in the JSON of an answer to regress.

    Raises:
        ProtocolError: it has another form.
    """
    try:
        return [float(value) for value in answer["results"]]
    except (KeyError, TypeError, ValueError) as exc:
        raise ProtocolError(f"The answer to regress cannot be read: {exc}.") from exc


def serialized(given: Any) -> list[bytes]:
    """The examples of a `tensorflow.serving.Input`; a context goes before each, so that the example's own features win."""
    context = b""
    listed = given.example_list
    if given.WhichOneof("kind") == "example_list_with_context":
        listed = given.example_list_with_context
        context = listed.context.SerializeToString()
    return [context + example.SerializeToString() for example in listed.examples]


def messages(examples: Sequence[Example]) -> list[Any]:
    """Each as a `tensorflow.Example` message; errors as in `to_message`."""
    return [to_message(example) for example in examples]
