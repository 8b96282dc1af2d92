"""Classify and regress over REST: JSON to tf.Examples and results to JSON (tensorflow_serving/util/json_tensor.cc)."""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.protocol.float_texts import decimal_texts
from serving.protocol.json_codec import is_base64, narrowed, read_base64, read_signature_name
from serving.protocol.json_object import c_string, members
from serving.protocol.json_parser import parse_object
from serving.protocol.json_text import debug_text, quote, type_name
from serving.protocol.messages import message
from serving.protocol.status import StatusError, invalid_argument
from serving.texts import is_utf8

_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def read_examples(body: bytes, proto: Any, max_nesting: int | None = None) -> str:
    """Read the examples of a request's body.

    Args:
        body: the body of the request.
        proto: the Input message to fill.
        max_nesting: most arrays and objects inside each other; None for no limit.

    Returns:
        The name of the signature, which may have surrogate escapes; empty for the default one.

    Raises:
        StatusError: INVALID_ARGUMENT with the server's text.
    """
    document = parse_object(body, max_nesting=max_nesting)
    signature_name = read_signature_name(document)
    examples = proto.example_list.examples
    if "context" in document:
        with_context = proto.example_list_with_context
        _fill_example(document["context"], with_context.context)
        examples = with_context.examples
    if "examples" not in document:
        raise _format_error(document, "When method is classify, key 'examples' is expected and was not found")
    if not isinstance(document["examples"], list):
        raise _format_error(document, "Expecting 'examples' value to be an list/array")
    if not document["examples"]:
        raise _format_error(document, "'examples' value is an empty array")
    for example in document["examples"]:
        _fill_example(example, examples.add())
    return signature_name


def _format_error(document: dict[str, Any], text: str) -> StatusError:
    return invalid_argument(f"JSON Value: {debug_text(document)} {text}")


def _fill_example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {type_name(value)}")
    for key, content in members(value):
        name = c_string(key)
        feature = message("tensorflow.Feature")()
        for element in content if isinstance(content, list) else [content]:
            _add(element, name, feature)
        if is_utf8(name):  # no model has a feature whose name is not UTF-8
            example.features.feature[name].CopyFrom(feature)


def _add(value: Any, name: str, feature: Any) -> None:
    """Append one value to a feature, which can hold only one kind of values."""
    if isinstance(value, bool):
        _values(name, feature, "int64_list").append(int(value))
    elif isinstance(value, str):
        _values(name, feature, "bytes_list").append(value.encode("utf-8", "surrogateescape"))
    elif is_base64(value):
        _values(name, feature, "bytes_list").append(read_base64(value))
    elif value is None or isinstance(value, list | dict):
        raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")
    elif isinstance(value, float) or not -(2**63) <= value < 2**64:
        _values(name, feature, "float_list").append(float(narrowed(np.array(value, np.float64), "float32")))
    else:
        values = _values(name, feature, "int64_list")
        if value >= 2**63:
            raise invalid_argument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        values.append(value)


def _values(name: str, feature: Any, field: str) -> Any:
    kind = feature.WhichOneof("kind")
    if kind not in (None, field):
        raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {_KINDS[kind]}")
    return getattr(feature, field).value


def write_classifications(result: Any) -> bytes:
    """Return the reply to `:classify` for a ClassificationResult message: a list of `[label, score]` pairs per example.

    Raises:
        StatusError: INVALID_ARGUMENT: the message has no results.
    """
    if not result.classifications:
        raise invalid_argument("Cannot convert empty ClassificationResults to JSON")
    lists = ", ".join(_classes_text(each.classes) for each in result.classifications)
    return f'{{\n    "results": [{lists}\n    ]\n}}'.encode("utf-8", "surrogateescape")


def _classes_text(classes: Any) -> str:
    scores = decimal_texts(np.array([each.score for each in classes], np.float32))
    pairs = (f"[{quote(each.label)}, {score}]" for each, score in zip(classes, scores, strict=True))
    return f"[{', '.join(pairs)}]"


def write_regressions(result: Any) -> bytes:
    """Return the reply to `:regress` for a RegressionResult message: one number per example. Errors as for `:classify`."""
    if not result.regressions:
        raise invalid_argument("Cannot convert empty RegressionResults to JSON")
    values = decimal_texts(np.array([each.value for each in result.regressions], np.float32))
    return f'{{\n    "results": [{", ".join(values)}]\n}}'.encode()
