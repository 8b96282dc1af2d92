"""ModelInfer of the Open Inference Protocol: the same prediction as Predict, with that protocol's names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serving.protocol.messages import DEFAULT_SIGNATURE, serving_message
from serving.protocol.status import StatusError, invalid_argument, not_found
from serving.protocol.tensors import Array
from serving.server.methods.predict import predict_messages, run_signature
from serving.server.models.core import ServerCore
from serving.server.models.sources import parse_version
from serving.server.observability.request_log import RequestLog
from serving.texts import is_utf8

SIGNATURE_PARAMETER = "signature_name"
"""The request's parameter that names the signature."""

_REFUSED = ("sequence_id", "sequence_start", "sequence_end")
_REFUSED_OUTPUT = {
    "classification": "the classification extension is not supported; call Classify, or sort the scores yourself",
    "shared_memory_region": "shared memory is not supported",
}


@dataclass(frozen=True)
class InferenceCall:
    """What an inference asks for, over REST or gRPC.

    Attributes:
        spec: the ModelSpec message of the version.
        parameters: parameters of the request.
        inputs: names of the inputs.
        outputs: name and parameters of each output that is asked for; none for all.
    """

    spec: Any
    parameters: Mapping[str, Any]
    inputs: Iterable[str]
    outputs: Sequence[tuple[str, Mapping[str, Any]]]

    @property
    def signature(self) -> str:
        """Name of the signature.

        Raises:
            StatusError: INVALID_ARGUMENT: it is not a string.
        """
        return signature_name(self.parameters.get(SIGNATURE_PARAMETER, ""))

    def check(self) -> None:
        """Raise if a parameter asks for what this server does not do, so that nothing is ignored that changes the answer.

        Raises:
            StatusError: INVALID_ARGUMENT.
        """
        for name in _REFUSED:
            if self.parameters.get(name):
                raise invalid_argument(f"The parameter {name} is not supported: models have no state between requests.")
        for output, parameters in self.outputs:
            for name, why in _REFUSED_OUTPUT.items():
                if parameters.get(name):
                    raise invalid_argument(f"The parameter {name} of output {output} is refused: {why}.")


@dataclass(frozen=True)
class Inferred:
    """An answer.

    Attributes:
        version: the version that answered.
        signature: the signature that answered.
        outputs: output name -> array.
    """

    version: int
    signature: str
    outputs: dict[str, Array]


def signature_name(value: object) -> str:
    """Return the name of a signature; the default one for an empty text.

    Raises:
        StatusError: INVALID_ARGUMENT: the value is not text.
    """
    if not isinstance(value, str) or not is_utf8(value):
        raise invalid_argument(f"The parameter {SIGNATURE_PARAMETER} must be a string.")
    return value or DEFAULT_SIGNATURE


def model_spec(core: ServerCore, name: str, version: str) -> Any:
    """Return the ModelSpec message for a model's name and a version's number or label; an empty version is the newest one.

    Raises:
        StatusError: NOT_FOUND: the model has no such label, or a name is not UTF-8.
    """
    if not is_utf8(name + version):
        raise not_found(f"Servable not found for request: Latest({name})")
    spec = serving_message("ModelSpec")(name=name)
    number = parse_version(version)
    if number is not None:
        spec.version.value = number
    elif version:
        if version not in core.models().get(name, {}):
            raise not_found(f"Model {name} has no version or label {version}.")
        spec.version_label = version
    return spec


def infer(
    core: ServerCore, call: InferenceCall, read: Callable[[str], Array], request_log: RequestLog | None = None
) -> Inferred:
    """Answer an inference.

    Args:
        core: the models.
        call: what is asked for.
        read: returns the array of an input; called only for inputs of the signature.
        request_log: logs a sample of the requests as those of Predict; None turns that off.

    Raises:
        StatusError: NOT_FOUND: no such version serves; else as in `run_signature`.
    """
    call.check()
    name = call.signature
    inputs: dict[str, Array] = {}

    def reading(alias: str) -> Array:
        inputs[alias] = read(alias)
        return inputs[alias]

    with core.servable(call.spec) as handle:
        try:
            outputs = run_signature(
                handle, name, call.inputs, read=reading, output_filter=[output for output, _ in call.outputs],
                check_method=core.options.check_method_names,
            )  # fmt: skip
        except StatusError as exc:
            if name not in handle.signatures:
                raise missing_signature(handle.signatures, name) from exc
            raise
        if request_log and request_log.wants():
            request_log.write("Predict", *predict_messages(handle, call.spec, name, inputs, outputs))
        return Inferred(handle.version, name, outputs)


def missing_signature(signatures: Mapping[str, Any], name: str) -> StatusError:
    """Return the error for a signature that a model does not have, with the names of those that it has."""
    names = ", ".join(sorted(each for each in signatures if signatures[each].method_name)) or "none"
    return invalid_argument(f"The model has no signature {name}; the parameter {SIGNATURE_PARAMETER} may be: {names}.")
