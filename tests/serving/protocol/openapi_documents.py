"""Check an OpenAPI document, and bodies against its schemas."""

from __future__ import annotations

from typing import Any

import jsonschema

from tests import requirements


def check_document(document: dict[str, Any]) -> None:
    """Fail unless the document follows OpenAPI 3.1 and every reference in it leads somewhere."""
    validator = requirements.require_package("openapi_spec_validator", "pip install openapi-spec-validator")
    validator.OpenAPIV31SpecValidator(document).validate()


def problems(document: dict[str, Any], path: str, method: str, value: Any, *, status: int | None = None) -> list[str]:
    """Return what is wrong with a body.

    Args:
        document: the OpenAPI document.
        path: one of its paths.
        method: `get` or `post`.
        value: the body, parsed.
        status: the status of the answer whose body it is; None if it is the body of a request.
    """
    operation = document["paths"][path][method]
    responses = operation["responses"]
    place = operation["requestBody"] if status is None else responses.get(str(status), responses["default"])
    schema = {**place["content"]["application/json"]["schema"], "components": document["components"]}
    found = jsonschema.Draft202012Validator(schema).iter_errors(value)
    return [f"{list(error.absolute_path)}: {error.message[:200]}" for error in found]
