"""Predict: run a signature on a request's tensors (servables/tensorflow/predict_util.cc)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from serving.errors import TensorError
from serving.protocol.messages import DEFAULT_SIGNATURE, serving_message
from serving.protocol.status import Code, StatusError, failed_precondition, invalid_argument
from serving.protocol.tensors import Array, decoded_size, fill_proto, from_proto, to_proto
from serving.server.config.options import ServerOptions
from serving.server.methods.copies import one_at_a_time
from serving.server.methods.model_spec import resolved
from serving.server.models.core import Handle
from serving.server.observability.tracing import describe
from serving.server.servables.protocol import Runnable
from serving.tracing import names

METHODS = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")


def predict(handle: Handle, request: Any, options: ServerOptions) -> Any:
    """Answer a PredictRequest message with a PredictResponse.

    Raises:
        StatusError: with the real server's code and text.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    outputs = run_signature(
        handle,
        name,
        request.inputs,
        read=lambda alias: read_tensor(alias, request.inputs[alias]),
        output_filter=request.output_filter,
        check_method=options.check_method_names,
    )
    as_content = options.answer_as_tensor_content
    return _response(handle, name, outputs, content=as_content, string_content=as_content)


def _response(
    handle: Handle, name: str, outputs: Mapping[str, Array], *, content: bool, string_content: bool = False
) -> Any:
    response = serving_message("PredictResponse")(model_spec=resolved(handle, name))
    with one_at_a_time(sum(array.nbytes for array in outputs.values())):
        for alias, array in outputs.items():
            fill_proto(response.outputs[alias], array, content=content, string_content=string_content)
    return response


def predict_messages(
    handle: Handle, spec: Any, name: str, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
) -> tuple[Any, Any]:
    """Return the PredictRequest and PredictResponse messages of a JSON request, for the log of requests.

    Strings are written as `string_val`, as the real server logs them without `--enable_serialization_as_tensor_content`.

    Args:
        handle: the version that answered.
        spec: the request's ModelSpec message.
        name: the signature.
        inputs: input name -> array.
        outputs: output name -> array.
    """
    request = serving_message("PredictRequest")(model_spec=spec)
    request.model_spec.signature_name = name
    for alias, array in inputs.items():
        request.inputs[alias].CopyFrom(to_proto(array))
    return request, _response(handle, name, outputs, content=True)


def read_tensor(alias: str, proto: Any) -> Array:
    """Read the TensorProto message of input `alias`.

    Raises:
        StatusError: INVALID_ARGUMENT: the message does not describe an array.
    """
    try:
        with one_at_a_time(decoded_size(proto)[1]):
            return from_proto(proto)
    except (TensorError, ValueError, MemoryError, OverflowError) as exc:
        raise invalid_argument(f"tensor parsing error: {alias}") from exc


def run_signature(
    servable: Runnable,
    name: str,
    input_names: Iterable[str],
    *,
    read: Callable[[str], Array],
    output_filter: Iterable[str] = (),
    check_method: bool = False,
) -> dict[str, Array]:
    """Run a signature.

    Args:
        servable: the loaded version.
        name: the signature's name.
        input_names: names of the inputs in the request.
        read: returns the array of an input; called only for inputs of the signature.
        output_filter: names of the outputs to compute, without duplicates; empty for all outputs.
        check_method: whether the signature's method name must be one of METHODS.

    Returns:
        Output name -> array.

    Raises:
        StatusError: with the real server's code and text.
    """
    describe(names.MODEL_SIGNATURE, name)
    signature = servable.signatures.get(name)
    if signature is None:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    if check_method and signature.method_name not in METHODS:
        raise StatusError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(METHODS)}}}. "
            f"Was: {signature.method_name}",
        )
    feeds = _feeds(signature, set(input_names), read)
    aliases = _filtered(signature, list(output_filter))
    results = servable.run(feeds, [signature.outputs[alias].name for alias in aliases])
    return dict(zip(aliases, results, strict=True))


def _feeds(signature: Any, given: set[str], read: Callable[[str], Array]) -> dict[str, Array]:
    """Return tensor name -> array. An input missing from the request takes the signature's default, if there is one.

    The rules are those of GetInputValues, tensorflow/cc/saved_model/util.cc.
    """
    wanted = set(signature.inputs)
    if len(given) > len(wanted) or (len(given) < len(wanted) and not signature.defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(given)}!={len(wanted)} len({_set(given)}) != "
            f"len({_set(wanted)}). Sent extra: {_set(given - wanted)}. Missing but required: {_set(wanted - given)}."
        )
    feeds: dict[str, Array] = {}
    for alias in sorted(wanted):
        tensor = signature.inputs[alias].name
        if alias in given:
            feeds[tensor] = read(alias)
        elif alias in signature.defaults:
            feeds[tensor] = read_tensor(alias, signature.defaults[alias])
        else:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {tensor}) not found in request and no default value "
                f"provided. Inputs expected to be in the request {_set(given)}, or default input alias set: "
                f"{','.join(sorted(signature.defaults))}"
            )
    if given - wanted:
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {','.join(sorted(given & wanted))}, "
            f"request input: {','.join(sorted(given))}"
        )
    return feeds


def _filtered(signature: Any, output_filter: list[str]) -> list[str]:
    seen: set[str] = set()
    for alias in output_filter:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{_set(signature.outputs)}."
            )
        if alias in seen:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        seen.add(alias)
    return output_filter or sorted(signature.outputs)


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
