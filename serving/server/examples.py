"""Classify, Regress and MultiInference: signatures that read serialized tf.Examples.

Rules and texts are those of servables/tensorflow/classifier.cc, regressor.cc and multi_inference.cc. A signature's method
name is looked at only with --enable_signature_method_name_check, so those that TensorFlow 2 writes work too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import text_format

from serving.client.examples import serialized_examples
from serving.protocol.messages import DEFAULT_SIGNATURE, enum, pool, serving_message
from serving.protocol.status import Code, StatusError, invalid_argument
from serving.protocol.tensors import Array, array_dtype_name, dtype_number
from serving.server.core import Handle, ServerCore
from serving.server.options import ServerOptions
from serving.server.predict import resolved

INPUTS = "inputs"
OUTPUTS = "outputs"
CLASSES = "classes"
SCORES = "scores"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def classify(core: ServerCore, request: Any) -> Any:
    """Answer a ClassificationRequest message.

    Raises:
        StatusError: with the real server's code and text.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    with core.servable(request.model_spec) as handle:
        return classify_with(handle, request, core.options)


def classify_with(handle: Handle, request: Any, options: ServerOptions) -> Any:
    name = request.model_spec.signature_name
    fetches = _classification(_signature(handle, name), options)
    outputs, count = _run(handle, [_input(handle, name)], list(fetches.values()), request.input, "Classify")
    response = serving_message("ClassificationResponse")(model_spec=resolved(handle, name))
    response.result.CopyFrom(_classification_result(fetches, outputs, count))
    return response


def regress(core: ServerCore, request: Any) -> Any:
    """Answer a RegressionRequest message.

    Raises:
        StatusError: with the real server's code and text.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    with core.servable(request.model_spec) as handle:
        return regress_with(handle, request, core.options)


def regress_with(handle: Handle, request: Any, options: ServerOptions) -> Any:
    name = request.model_spec.signature_name
    fetch = _regression(_signature(handle, name), options)
    outputs, count = _run(handle, [_input(handle, name)], [fetch], request.input, "Regress")
    response = serving_message("RegressionResponse")(model_spec=resolved(handle, name))
    response.result.CopyFrom(_regression_result(outputs[fetch], count))
    return response


def multi_inference(core: ServerCore, request: Any) -> Any:
    """Answer a MultiInferenceRequest message: several signatures of one model over the same examples, in one run.

    Raises:
        StatusError: with the real server's code and text.
    """
    spec = request.tasks[0].model_spec if request.tasks else serving_message("ModelSpec")()
    with core.servable(spec) as handle:
        return multi_inference_with(handle, request, core.options)


def multi_inference_with(handle: Handle, request: Any, options: ServerOptions) -> Any:
    fetches = _task_fetches(handle, request.tasks, options)
    feeds = sorted({_input(handle, task.model_spec.signature_name) for task in request.tasks})
    tensors = sorted({tensor for each in fetches for tensor in each.values()})
    outputs, count = _run(handle, feeds, tensors, request.input, None)
    handle.metrics.examples(handle.name, count)
    response = serving_message("MultiInferenceResponse")()
    for task, each in zip(request.tasks, fetches, strict=True):
        result = response.results.add(model_spec=resolved(handle, task.model_spec.signature_name))
        if task.method_name == CLASSIFY:
            result.classification_result.CopyFrom(_classification_result(each, outputs, count))
        else:
            result.regression_result.CopyFrom(_regression_result(outputs[each[OUTPUTS]], count))
    return response


def _task_fetches(handle: Handle, tasks: Any, options: ServerOptions) -> list[dict[str, str]]:
    """Output -> tensor, a task."""
    fetches: list[dict[str, str]] = []
    seen: set[str] = set()
    for task in tasks:
        if not task.model_spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if task.model_spec.name != tasks[0].model_spec.name:
            raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if name in seen:
            raise invalid_argument(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        signature = handle.signatures.get(name)
        if signature is None:
            raise invalid_argument(f"Requested signature not found in model graph: {name}")
        if task.method_name == CLASSIFY:
            fetches.append(_classification(signature, options))
        elif task.method_name == REGRESS:
            fetches.append({OUTPUTS: _regression(signature, options)})
        else:
            raise StatusError(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
    return fetches


def _signature(handle: Handle, name: str) -> Any:
    name = name or DEFAULT_SIGNATURE
    signature = handle.signatures.get(name)
    if signature is None:
        raise invalid_argument(f"No signature was found with the name: {name}")
    return signature


def _input(handle: Handle, name: str) -> str:
    """The tensor that a checked signature is fed through."""
    return str(handle.signatures[name or DEFAULT_SIGNATURE].inputs[INPUTS].name)


def _classification(signature: Any, options: ServerOptions) -> dict[str, str]:
    """The tensors of `classes` and `scores`, of those that the signature has."""
    _check_method(signature, options, CLASSIFY, "classification")
    _check_one_input(signature)
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUTS not in signature.inputs:
        raise invalid_argument(f"No classification inputs found in SignatureDef: {_text(signature)}")
    found = {alias: signature.outputs[alias].name for alias in (CLASSES, SCORES) if alias in signature.outputs}
    if not found:
        raise invalid_argument(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {_text(signature)}"
        )
    return found


def _regression(signature: Any, options: ServerOptions) -> str:
    """The tensor of the one output."""
    _check_method(signature, options, REGRESS, "regression")
    _check_one_input(signature)
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise invalid_argument(f"No regression inputs found in SignatureDef: {_text(signature)}")
    if OUTPUTS not in signature.outputs:
        raise invalid_argument(f"No regression outputs found in SignatureDef: {_text(signature)}")
    return str(signature.outputs[OUTPUTS].name)


def _check_method(signature: Any, options: ServerOptions, method: str, kind: str) -> None:
    if options.check_method_names and signature.method_name != method:
        raise invalid_argument(
            f"Expected {kind} signature method_name to be {method}. Was: {signature.method_name}"
        )


def _check_one_input(signature: Any) -> None:
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")


def _text(signature: Any) -> str:
    return str(text_format.MessageToString(signature, descriptor_pool=pool()))


def _run(
    handle: Handle, feeds: list[str], fetches: list[str], given: Any, api: str | None
) -> tuple[dict[str, Array], int]:
    """Feed the serialized examples and compute tensors. Returns tensor -> array and the number of examples."""
    examples = _serialized(given)
    array = np.empty(len(examples), np.object_)
    array[:] = examples
    results = handle.run(dict.fromkeys(feeds, array), fetches, api)
    return dict(zip(fetches, results, strict=True)), len(examples)


def _serialized(given: Any) -> list[bytes]:
    examples = serialized_examples(given)
    if not examples:
        raise invalid_argument("Input is empty.")
    return examples


def _classification_result(fetches: Mapping[str, str], outputs: Mapping[str, Array], count: int) -> Any:
    arrays = {alias: outputs[tensor] for alias, tensor in fetches.items()}
    for alias, array in arrays.items():
        _check_classes(alias, array, count)
    sizes = [array.shape[1] for array in arrays.values()]
    if len(set(sizes)) > 1:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {sizes[0]} vs. {sizes[1]}"
        )
    labels, scores = arrays.get(CLASSES), arrays.get(SCORES)
    result = serving_message("ClassificationResult")()
    for row in range(count):
        classes = result.classifications.add().classes
        for column in range(sizes[0]):
            each = classes.add()
            if labels is not None:
                each.label = labels[row, column]
            if scores is not None:
                each.score = scores[row, column]
    return result


def _check_classes(alias: str, array: Array, count: int) -> None:
    if array.ndim != 2:
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape_text(array)}")
    wanted = "DT_STRING" if alias == CLASSES else "DT_FLOAT"
    if _data_type(array) != wanted:
        raise invalid_argument(f"Expected {alias} Tensor of {wanted}. Got: {_data_type(array)}")
    if array.shape[0] != count:
        raise invalid_argument(f"Expected {alias} output batch size of {count}. Got: {array.shape[0]}")


def _regression_result(array: Array, count: int) -> Any:
    if not (array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1)):
        raise invalid_argument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape_text(array)}"
        )
    if array.shape[0] != count:
        raise invalid_argument(
            f"Input batch size did not match output batch size: {count} vs. {array.shape[0]}"
        )
    if _data_type(array) != "DT_FLOAT":
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {_data_type(array)}")
    result = serving_message("RegressionResult")()
    for value in array.ravel().tolist():
        result.regressions.add(value=value)
    return result


def _shape_text(array: Array) -> str:
    return "[" + ",".join(map(str, array.shape)) + "]"


def _data_type(array: Array) -> str:
    return str(enum("tensorflow.DataType").values_by_number[dtype_number(array_dtype_name(array))].name)
