"""GetModelMetadata and GetModelStatus, and their JSON over REST."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from serving.protocol.messages import pool, serving_message
from serving.protocol.status import StatusError, invalid_argument, not_found
from serving.server.models.core import ServerCore
from serving.server.models.states import ServableState

SIGNATURE_DEF = "signature_def"
"""The only metadata field (servables/tensorflow/get_model_metadata_impl.cc)."""


def model_metadata(core: ServerCore, request: Any) -> Any:
    """Answer a GetModelMetadataRequest message.

    Raises:
        StatusError: with the real server's code and text.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    if not request.metadata_field:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in request.metadata_field:
        if field != SIGNATURE_DEF:
            raise invalid_argument(f"Metadata field {field} is not supported")
    response = serving_message("GetModelMetadataResponse")()
    with core.servable(request.model_spec) as handle:
        response.model_spec.name = handle.name
        response.model_spec.version.value = handle.version
        response.metadata[SIGNATURE_DEF].Pack(_signatures(handle.signatures))
    return response


def _signatures(signatures: dict[str, Any]) -> Any:
    by_name = serving_message("SignatureDefMap")()
    for name, signature in signatures.items():
        by_name.signature_def[name].CopyFrom(signature)
    return by_name


def model_status(core: ServerCore, request: Any) -> Any:
    """Answer a GetModelStatusRequest message. Its version label is ignored.

    Raises:
        StatusError: INVALID_ARGUMENT: there is no ModelSpec; NOT_FOUND: the model or version is unknown.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    response = serving_message("GetModelStatusResponse")()
    for state in _states(core, request.model_spec):
        response.model_version_status.add(
            version=state.version, state=state.state.value, status=status_message(state.error)
        )
    return response


def _states(core: ServerCore, spec: Any) -> list[ServableState]:
    if spec.HasField("version"):
        state = core.board.get(spec.name, spec.version.value)
        if state is None:
            raise not_found(f"Could not find version {spec.version.value} of model {spec.name}")
        return [state]
    states = core.board.versions(spec.name)
    if not states:
        raise not_found(f"Could not find any versions of model {spec.name}")
    return states


def status_message(error: StatusError | None) -> Any:
    """Return an error as a StatusProto message; an empty message for None."""
    status = serving_message("StatusProto")()
    if error is not None:
        status.error_code = error.code.value
        status.error_message = error.utf8_message
    return status


def status_json(response: Any) -> bytes:
    """Return a GetModelStatusResponse as JSON, as in the real server's REST API."""
    return _json(response).encode()


def metadata_json(response: Any) -> bytes:
    """Return a GetModelMetadataResponse as JSON, which the real server's REST API composes from the message's parts."""
    signatures = serving_message("SignatureDefMap")()
    response.metadata[SIGNATURE_DEF].Unpack(signatures)
    spec = _json(response.model_spec)
    return f'{{\n"model_spec":{spec},\n"metadata": {{"signature_def": {_json(signatures)}}}\n}}\n'.encode()


def _json(message: Any) -> str:
    text = json_format.MessageToJson(
        message,
        indent=1,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        ensure_ascii=False,
        descriptor_pool=pool(),
    )
    return f"{text}\n"
