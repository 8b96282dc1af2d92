"""Predict: a request's tensors through a signature (servables/tensorflow/predict_util.cc)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from serving.errors import TensorError
from serving.protocol.messages import DEFAULT_SIGNATURE, serving_message
from serving.protocol.status import Code, StatusError, failed_precondition, invalid_argument
from serving.protocol.tensors import Array, from_proto, to_proto
from serving.server.core import Handle, ServerCore
from serving.server.options import ServerOptions

METHODS = ("tensorflow/serving/predict", "tensorflow/serving/classify", "tensorflow/serving/regress")


class Runnable(Protocol):
    """What a signature is run on: a SavedModel or a model.tflite that is loaded."""

    @property
    def signatures(self) -> dict[str, Any]: ...

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]: ...


def predict(core: ServerCore, request: Any) -> Any:
    """Answer a PredictRequest message with a PredictResponse.

    Raises:
        StatusError: with the real server's code and text.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    with core.servable(request.model_spec) as handle:
        return predict_with(handle, request, core.options)


def predict_with(handle: Handle, request: Any, options: ServerOptions) -> Any:
    """Answer a PredictRequest with a version at hand, whatever model it names."""
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
    for alias, array in outputs.items():
        response.outputs[alias].CopyFrom(to_proto(array, content=content, string_content=string_content))
    return response


def predict_messages(
    handle: Handle, spec: Any, name: str, inputs: Mapping[str, Array], outputs: Mapping[str, Array]
) -> tuple[Any, Any]:
    """A PredictRequest and its PredictResponse for arrays that came and went as JSON: what a log of requests has. Strings
    stand as `string_val`, as in a log of the real server without `--enable_serialization_as_tensor_content`."""
    request = serving_message("PredictRequest")(model_spec=spec)
    request.model_spec.signature_name = name
    for alias, array in inputs.items():
        request.inputs[alias].CopyFrom(to_proto(array))
    return request, _response(handle, name, outputs, content=True)


def resolved(handle: Handle, signature: str) -> Any:
    """The ModelSpec of a response: the version and the signature that really answered."""
    return serving_message("ModelSpec")(
        name=handle.name, version={"value": handle.version}, signature_name=signature or DEFAULT_SIGNATURE
    )


def read_tensor(alias: str, proto: Any) -> Array:
    try:
        return from_proto(proto)
    except (TensorError, ValueError, MemoryError, OverflowError) as exc:
        raise invalid_argument(f"tensor parsing error: {alias}") from exc


def run_signature(
    servable: Runnable,
    name: str,
    given: Iterable[str],
    *,
    read: Callable[[str], Array],
    output_filter: Iterable[str] = (),
    check_method: bool = False,
) -> dict[str, Array]:
    """Run one signature.

    Args:
        given: names of the inputs that the request has.
        read: makes the array of one of them; called only for inputs that the signature has.
        output_filter: outputs to compute, each once; empty: all.

    Returns:
        Output name -> array.

    Raises:
        StatusError: with the real server's code and text.
    """
    signature = servable.signatures.get(name)
    if signature is None:
        raise failed_precondition(f'Serving signature key "{name}" not found.')
    if check_method and signature.method_name not in METHODS:
        raise StatusError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(METHODS)}}}. "
            f"Was: {signature.method_name}",
        )
    feeds = _feeds(signature, set(given), read)
    aliases = _filtered(signature, list(output_filter))
    results = servable.run(feeds, [signature.outputs[alias].name for alias in aliases])
    return dict(zip(aliases, results, strict=True))


def _feeds(signature: Any, given: set[str], read: Callable[[str], Array]) -> dict[str, Array]:
    """Tensor name -> array; an input that is not given has its default from the signature, if there is one
    (GetInputValues, tensorflow/cc/saved_model/util.cc)."""
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
