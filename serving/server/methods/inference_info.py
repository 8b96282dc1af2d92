"""Health, readiness and metadata of the Open Inference Protocol, for REST and gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from serving.protocol.open_inference.tensors import metadata_of
from serving.protocol.status import not_found
from serving.server.methods.infer import missing_signature, model_spec
from serving.server.models.core import ServerCore
from serving.server.models.states import ManagerState

NAME = "tfbundle"
EXTENSIONS = ("binary_tensor_data",)
"""Extensions of the protocol that this server has, by Triton's names."""
PLATFORM = "tensorflow_savedmodel"
"""Triton's name for models of this kind."""

_STATES = {ManagerState.START: "UNAVAILABLE", ManagerState.LOADING: "LOADING", ManagerState.AVAILABLE: "READY",
           ManagerState.UNLOADING: "UNLOADING", ManagerState.END: "UNAVAILABLE"}  # fmt: skip


class ModelMetadata(NamedTuple):
    """Metadata of a model.

    Attributes:
        name: the model's name.
        versions: the versions that serve, in ascending order.
        platform: the kind of model.
        inputs, outputs: name, datatype and shape of each.
    """

    name: str
    versions: list[str]
    platform: str
    inputs: list[tuple[str, str, list[int]]]
    outputs: list[tuple[str, str, list[int]]]


def server_version() -> str:
    """Return the version of this server; empty if it is not installed."""
    try:
        return version(NAME)
    except PackageNotFoundError:
        return ""


def is_server_ready(core: ServerCore) -> bool:
    """Return whether every model of the config has a version that serves."""
    return all(_serving(core, name) for name in core.models())


def is_model_ready(core: ServerCore, name: str, version: str) -> bool:
    """Return whether a version of a model serves; without a version, whether any does.

    Raises:
        StatusError: NOT_FOUND: there is no such model, version or label.
    """
    spec = model_spec(core, name, version)
    number = core.models()[name][version] if spec.version_label else spec.version.value if version else None
    known = [state for state in core.board.versions(name) if number is None or state.version == number]
    if not known:
        raise not_found(f"There is no model {name}{f' with version {version}' if version else ''}.")
    return any(state.state is ManagerState.AVAILABLE for state in known)


def _serving(core: ServerCore, name: str) -> list[str]:
    available = [state.version for state in core.board.versions(name) if state.state is ManagerState.AVAILABLE]
    return [str(number) for number in sorted(available)]


def model_metadata(core: ServerCore, name: str, version: str, signature: str) -> ModelMetadata:
    """Return the metadata of a model for one of its signatures.

    Raises:
        StatusError: NOT_FOUND: no such version serves; INVALID_ARGUMENT: it has no such signature; UNIMPLEMENTED: the protocol
            has no datatype for one of its tensors.
    """
    with core.servable(model_spec(core, name, version)) as handle:
        if signature not in handle.signatures:
            raise missing_signature(handle.signatures, signature)
        definition = handle.signatures[signature]
        versions = [str(handle.version)] if version else _serving(core, name)
        return ModelMetadata(name, versions, PLATFORM, _tensors(definition.inputs), _tensors(definition.outputs))


def _tensors(infos: Any) -> list[tuple[str, str, list[int]]]:
    return [metadata_of(name, infos[name]) for name in sorted(infos)]


def repository_index(core: ServerCore, *, ready: bool) -> Iterator[dict[str, str]]:
    """Yield name, version, state and reason of every version, for Triton's RepositoryIndex.

    Args:
        core: the models.
        ready: leave out versions that do not serve.
    """
    for name in core.models():
        for state in sorted(core.board.versions(name), key=lambda each: each.version):
            if not ready or state.state is ManagerState.AVAILABLE:
                reason = state.error.utf8_message if state.error else ""
                yield {"name": name, "version": str(state.version), "state": _STATES[state.state], "reason": reason}
