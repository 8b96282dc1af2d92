"""The paths of the Open Inference Protocol in an OpenAPI document, with the JSON schema of its requests and answers.

Binary tensors are not JSON, so that OpenAPI cannot describe them; the document names the header that announces them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from serving.protocol.messages import DEFAULT_SIGNATURE
from serving.protocol.open_inference.tensors import DATATYPES
from serving.protocol.openapi.schemas import ERROR, Interface, Schema, Tensor

_DATATYPES = {dtype: datatype for datatype, dtype in DATATYPES.items()}
_ERROR = {"description": "The request is refused, or has failed.", "content": {"application/json": {"schema": ERROR}}}
_PARAMETERS: Schema = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}
_TENSOR: dict[str, Schema] = {
    "name": {"type": "string"},
    "datatype": {"enum": list(DATATYPES)},
    "shape": {"type": "array", "items": {"type": "integer"}},
}
_DATA: dict[str, Schema] = {"parameters": _PARAMETERS, "data": {"type": "array"}}


def _object(properties: Mapping[str, Schema], *required: str) -> Schema:
    return {"type": "object", "properties": dict(properties), "required": list(required)}


def inference_components() -> dict[str, Schema]:
    """Return the schemas that all models share."""
    tensor = _object({**_TENSOR, **_DATA}, *_TENSOR)
    tensors = {"type": "array", "items": _object(_TENSOR, *_TENSOR)}
    text: Schema = {"type": "string"}
    return {
        "inference_answer": _object(
            {
                "model_name": text, "model_version": text, "id": text, "parameters": _PARAMETERS,
                "outputs": {"type": "array", "items": tensor},
            },
            "model_name", "outputs",
        ),
        "inference_metadata": _object(
            {"name": text, "versions": {"type": "array", "items": text}, "platform": text, "inputs": tensors, "outputs": tensors},
            "name", "platform", "inputs", "outputs",
        ),
    }  # fmt: skip


def inference_paths(models: Mapping[str, Mapping[str, Interface]]) -> dict[str, Any]:
    """Return the paths of the protocol.

    Args:
        models: model -> signature name -> signature, of the version that answers.
    """
    text: Schema = {"type": "string"}
    ready = _object({"ready": {"type": "boolean"}}, "ready")
    extensions = {"type": "array", "items": text}
    server = _object({"name": text, "version": text, "extensions": extensions}, "name", "version", "extensions")
    paths: dict[str, Any] = {
        "/v2": _get("server", "Describe the server", server),
        "/v2/health/live": _get("live", "Tell whether the server runs", _object({"live": {"type": "boolean"}}, "live")),
        "/v2/health/ready": _get("ready", "Tell whether every model serves", ready),
    }
    for name, signatures in models.items():
        path = f"/v2/models/{quote(name, safe='')}"
        requests = [_request(each, signature) for each, signature in signatures.items() if _is_callable(signature)]
        metadata, answer = ({"$ref": f"#/components/schemas/inference_{what}"} for what in ("metadata", "answer"))
        paths[path] = _get(path, f"Describe model {name}", metadata)
        paths[f"{path}/ready"] = _get(f"{path}/ready", f"Tell whether model {name} serves", ready)
        if requests:
            infer = _get(f"{path}/infer", f"Predict with model {name}", answer)["get"]
            body = {"required": True, "content": {"application/json": {"schema": {"anyOf": requests}}}}
            paths[f"{path}/infer"] = {"post": {
                **infer,
                "description": "With the header Inference-Header-Content-Length, binary tensors follow the JSON.",
                "requestBody": body,
            }}  # fmt: skip
    return paths


def _is_callable(signature: Interface) -> bool:
    tensors = (*signature.inputs.values(), *signature.outputs.values())
    return bool(signature.inputs) and all(tensor.dtype in _DATATYPES for tensor in tensors)


def _get(operation: str, summary: str, answer: Schema) -> dict[str, Any]:
    return {
        "get": {
            "operationId": operation.replace("/", ".").lstrip("."),
            "summary": summary,
            "responses": {
                "200": {"description": "The answer.", "content": {"application/json": {"schema": answer}}},
                "default": _ERROR,
            },
        }
    }


def _request(name: str, signature: Interface) -> Schema:
    inputs = [_input(alias, tensor) for alias, tensor in signature.inputs.items()]
    is_default = name == DEFAULT_SIGNATURE
    named = {"enum": ["", name]} if is_default else {"const": name}
    parameters = {**_PARAMETERS, "properties": {"signature_name": named}}
    if not is_default:
        parameters["required"] = ["signature_name"]
    return _object(
        {
            "id": {"type": "string"},
            "parameters": parameters,
            "inputs": {"type": "array", "items": {"anyOf": inputs}, "minItems": len(inputs), "maxItems": len(inputs)},
            "outputs": {
                "type": "array",
                "items": _object({"name": {"enum": list(signature.outputs)}, "parameters": _PARAMETERS}, "name"),
            },
        },
        "inputs", *([] if is_default else ["parameters"]),
    )  # fmt: skip


def _input(name: str, tensor: Tensor) -> Schema:
    sizes: list[Schema] = [{"type": "integer", "minimum": 0} if size is None else {"const": size} for size in tensor.dims or ()]
    shape: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    if tensor.dims:
        shape = {"type": "array", "prefixItems": sizes, "items": False, "minItems": len(sizes)}
    return _object(
        {"name": {"const": name}, "datatype": {"const": _DATATYPES[tensor.dtype]}, "shape": shape, **_DATA},
        "name", "datatype", "shape",
    )  # fmt: skip
