"""Classify, Regress and MultiInference: signatures that read serialized tf.Examples.

Rules and texts are those of servables/tensorflow/classifier.cc, regressor.cc and multi_inference.cc. A signature's method
name is checked only with --enable_signature_method_name_check, so signatures written by TensorFlow 2 work too.
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
from serving.server.config.options import ServerOptions
from serving.server.methods.model_spec import resolved
from serving.server.models.core import Handle
from serving.server.observability.tracing import describe
from serving.tracing import names

INPUTS = "inputs"
OUTPUTS = "outputs"
CLASSES = "classes"
SCORES = "scores"
CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"


def classify(handle: Handle, request: Any, options: ServerOptions) -> Any:
    """Answer a ClassificationRequest message.

    Raises:
        StatusError: with the real server's code and text.
    """
    name = request.model_spec.signature_name
    fetches = _classification(_signature(handle, name), options)
    outputs, count = _run(handle, [_input(handle, name)], list(fetches.values()), request.input, "Classify")
    response = serving_message("ClassificationResponse")(model_spec=resolved(handle, name))
    response.result.CopyFrom(_classification_result(fetches, outputs, count))
    return response


def regress(handle: Handle, request: Any, options: ServerOptions) -> Any:
    """Answer a RegressionRequest message.

    Raises:
        StatusError: with the real server's code and text.
    """
    name = request.model_spec.signature_name
    fetch = _regression(_signature(handle, name), options)
    outputs, count = _run(handle, [_input(handle, name)], [fetch], request.input, "Regress")
    response = serving_message("RegressionResponse")(model_spec=resolved(handle, name))
    response.result.CopyFrom(_regression_result(outputs[fetch], count))
    return response


def multi_inference(handle: Handle, request: Any, options: ServerOptions) -> Any:
    """Answer a MultiInferenceRequest message: several signatures of one model on the same examples, in one run.

    Raises:
        StatusError: with the real server's code and text.
    """
    fetches = _task_fetches(handle, request.tasks, options)
    feeds = sorted({_input(handle, task.model_spec.signature_name) for task in request.tasks})
    tensors = sorted({tensor for task_fetches in fetches for tensor in task_fetches.values()})
    outputs, count = _run(handle, feeds, tensors, request.input, None)
    handle.metrics.record_examples(handle.name, count)
    response = serving_message("MultiInferenceResponse")()
    for task, task_fetches in zip(request.tasks, fetches, strict=True):
        result = response.results.add(model_spec=resolved(handle, task.model_spec.signature_name))
        if task.method_name == CLASSIFY:
            result.classification_result.CopyFrom(_classification_result(task_fetches, outputs, count))
        else:
            result.regression_result.CopyFrom(_regression_result(outputs[task_fetches[OUTPUTS]], count))
    return response


def _task_fetches(handle: Handle, tasks: Any, options: ServerOptions) -> list[dict[str, str]]:
    """Return output name -> tensor name for each task."""
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
    describe(names.MODEL_SIGNATURE, name)
    signature = handle.signatures.get(name)
    if signature is None:
        raise invalid_argument(f"No signature was found with the name: {name}")
    return signature


def _input(handle: Handle, name: str) -> str:
    """Return the name of the input tensor of a signature that was checked."""
    return str(handle.signatures[name or DEFAULT_SIGNATURE].inputs[INPUTS].name)


def _classification(signature: Any, options: ServerOptions) -> dict[str, str]:
    """Return output name -> tensor name for `classes` and `scores`, or the one of them that the signature has."""
    _check_method(signature, options, CLASSIFY, "classification")
    _check_one_input(signature)
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUTS not in signature.inputs:
        raise invalid_argument(f"No classification inputs found in SignatureDef: {_text(signature)}")
    fetches = {alias: signature.outputs[alias].name for alias in (CLASSES, SCORES) if alias in signature.outputs}
    if not fetches:
        raise invalid_argument(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {_text(signature)}"
        )
    return fetches


def _regression(signature: Any, options: ServerOptions) -> str:
    """Return the name of the output tensor."""
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
    handle: Handle, feeds: list[str], fetches: list[str], input_message: Any, api: str | None
) -> tuple[dict[str, Array], int]:
    """Feed the serialized examples of an Input message. Return tensor name -> array and the number of examples."""
    examples = serialized_examples(input_message)
    if not examples:
        raise invalid_argument("Input is empty.")
    array = np.empty(len(examples), np.object_)
    array[:] = examples
    results = handle.run(dict.fromkeys(feeds, array), fetches, api)
    return dict(zip(fetches, results, strict=True)), len(examples)


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
            entry = classes.add()
            if labels is not None:
                entry.label = labels[row, column]
            if scores is not None:
                entry.score = scores[row, column]
    return result


def _check_classes(alias: str, array: Array, count: int) -> None:
    if array.ndim != 2:
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape_text(array)}")
    expected = "DT_STRING" if alias == CLASSES else "DT_FLOAT"
    if _data_type(array) != expected:
        raise invalid_argument(f"Expected {alias} Tensor of {expected}. Got: {_data_type(array)}")
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
