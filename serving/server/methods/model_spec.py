"""The ModelSpec of requests and responses: find the version that a request names, and name the one that answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from serving.protocol.messages import DEFAULT_SIGNATURE, serving_message
from serving.protocol.status import invalid_argument
from serving.server.config.options import ServerOptions
from serving.server.models.core import Handle, ServerCore

Method = Callable[[Handle, Any, ServerOptions], Any]
"""Answers a request message with a version at hand, whatever model the request names."""


def answer_with_version(core: ServerCore, request: Any, method: Method) -> Any:
    """Answer a request with the version that its `model_spec` names.

    Raises:
        StatusError: INVALID_ARGUMENT: there is no model_spec, no name in it, or an unknown label; NOT_FOUND: no such version
            serves; else the method's error.
    """
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    with core.servable(request.model_spec) as handle:
        return method(handle, request, core.options)


def answer_multi_inference(core: ServerCore, request: Any, method: Method) -> Any:
    """Answer a MultiInferenceRequest with the version that its first task names.

    Raises:
        StatusError: as in `answer_with_version`.
    """
    spec = request.tasks[0].model_spec if request.tasks else serving_message("ModelSpec")()
    with core.servable(spec) as handle:
        return method(handle, request, core.options)


def resolved(handle: Handle, signature: str) -> Any:
    """Return the ModelSpec of a response: the model, version and signature that answered."""
    return serving_message("ModelSpec")(
        name=handle.name, version={"value": handle.version}, signature_name=signature or DEFAULT_SIGNATURE
    )
