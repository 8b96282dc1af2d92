"""The OpenAPI document of the models that serve now."""

from __future__ import annotations

from typing import Any

from serving.protocol.messages import serving_message
from serving.protocol.openapi.document import ServedModel, document
from serving.protocol.openapi.schemas import Interface, interface_of
from serving.protocol.status import StatusError
from serving.server.methods.inference_info import NAME, server_version
from serving.server.models.core import ServerCore
from serving.server.models.states import ManagerState


def openapi_document(core: ServerCore) -> dict[str, Any]:
    """Return the document: the models of the config that serve, with their versions, labels and signatures."""
    models = []
    for name, labels in core.models().items():
        versions = {}
        for state in core.board.versions(name):
            if state.state is ManagerState.AVAILABLE and (signatures := _signatures(core, name, state.version)):
                versions[state.version] = signatures
        if versions:
            models.append(ServedModel(name, versions, labels))
    protocol = core.options.open_inference_protocol
    return document(NAME, server_version() or "0", models, open_inference=protocol)


def _signatures(core: ServerCore, name: str, version: int) -> dict[str, Interface]:
    spec = serving_message("ModelSpec")(name=name, version={"value": version})
    try:
        with core.servable(spec) as handle:
            defined = handle.signatures
            return {key: interface_of(defined[key]) for key in sorted(defined) if defined[key].method_name}
    except StatusError:
        return {}  # it was unloaded meanwhile
