"""The OpenAPI 3.1 document of served models: TensorFlow Serving's REST paths, with the schemas of each version's signatures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from serving.protocol.messages import DEFAULT_SIGNATURE
from serving.protocol.openapi import schemas
from serving.protocol.openapi.inference import inference_components, inference_paths
from serving.protocol.openapi.schemas import CLASSIFY, REGRESS, Interface, Schema

VERSION = "3.1.0"

_GENERAL: dict[str, Schema] = {
    "error": schemas.ERROR,
    "status": schemas.STATUS,
    "metadata": schemas.METADATA,
    "classify_answer": schemas.CLASSIFY_ANSWER,
    "regress_answer": schemas.REGRESS_ANSWER,
}


@dataclass(frozen=True)
class ServedModel:
    """A model as the document describes it.

    Attributes:
        name: the model's name.
        versions: version -> signature name -> signature. The newest answers requests that name no version.
        labels: label -> version.
    """

    name: str
    versions: Mapping[int, Mapping[str, Interface]]
    labels: Mapping[str, int] = field(default_factory=dict)


def document(
    title: str, version: str, models: Sequence[ServedModel], *, url: str = "/", open_inference: bool = False
) -> dict[str, Any]:
    """Return the document as JSON data; the same arguments give the same data, in the same order.

    Args:
        title: name of the document.
        version: version of what it describes.
        models: the models, each with at least one version.
        url: address of the server.
        open_inference: describe the paths of the Open Inference Protocol too.
    """
    components = dict(_GENERAL)
    paths: dict[str, Any] = {}
    for model in models:
        for number, signatures in sorted(model.versions.items()):
            components |= _components(_Version(model.name, number, signatures))
        for path, number in _addresses(model):
            paths |= _paths(path, _Version(model.name, number, model.versions[number]))
    if open_inference:
        components |= inference_components()
        newest = {model.name: model.versions[max(model.versions)] for model in models}
        paths |= inference_paths(newest)
    return {
        "openapi": VERSION,
        "info": {"title": title, "version": version, "description": _description(models)},
        "servers": [{"url": url}],
        "paths": paths,
        "components": {"schemas": components},
    }


def _description(models: Sequence[ServedModel]) -> str:
    lines = ["The REST interface of TensorFlow Serving for these models."]
    for model in models:
        for number, signatures in sorted(model.versions.items()):
            for name, signature in signatures.items():
                if why := schemas.obstacle(signature):
                    lines.append(f"{model.name} version {number}: :predict cannot be called for signature {name}: {why}.")
    return "\n\n".join(lines)


def _addresses(model: ServedModel) -> Iterator[tuple[str, int]]:
    """Yield the addresses below /v1/models of a model, and the version that answers each."""
    base = quote(model.name, safe="")
    yield base, max(model.versions)
    for number in sorted(model.versions):
        yield f"{base}/versions/{number}", number
    for label, number in sorted(model.labels.items()):
        if number in model.versions:
            yield f"{base}/labels/{quote(label, safe='')}", number


@dataclass(frozen=True)
class _Version:
    """A version of a model, and the names of its components."""

    model: str
    number: int
    signatures: Mapping[str, Interface]

    @property
    def predicted(self) -> dict[str, Interface]:
        """The signatures that `:predict` can be called for."""
        return {name: signature for name, signature in self.signatures.items() if not schemas.obstacle(signature)}

    def of_method(self, method: str) -> dict[str, Interface]:
        """Return the signatures for `:classify` or `:regress`."""
        return {name: signature for name, signature in self.signatures.items() if signature.method == method}

    def component(self, *parts: str) -> str:
        """Return the name of a component, in which only letters, digits, `.`, `_` and `-` are allowed."""
        return ".".join(_plain(part) for part in (self.model, str(self.number), *parts))

    def ref(self, *parts: str) -> Schema:
        """Return a reference to a component."""
        return reference(self.component(*parts))


def reference(component: str) -> Schema:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{component}"}


def _plain(text: str) -> str:
    """Return a text with each other character as its number, so that two texts never become one."""
    return re.sub(r"[^A-Za-z0-9_-]", lambda match: f".{ord(match[0]):x}.", text)


def _components(version: _Version) -> dict[str, Schema]:
    made: dict[str, Schema] = {}
    requests, answers = [], []
    for name, signature in version.predicted.items():
        forms = {"columns": (schemas.column_request(name, signature), schemas.column_answer(signature))}
        if schemas.has_rows(signature):
            forms["rows"] = (schemas.row_request(name, signature), schemas.row_answer(signature))
        for form, (request, answer) in forms.items():
            made[version.component(name, form)] = request
            made[version.component(name, form, "answer")] = answer
            requests.append(version.ref(name, form))
            answers.append(version.ref(name, form, "answer"))
    if requests:
        made[version.component("predict")] = {"anyOf": requests}
        made[version.component("predict", "answer")] = {"anyOf": answers}
    for method in (CLASSIFY, REGRESS):
        names = list(version.of_method(method))
        if names:
            made[version.component(method)] = {
                "anyOf": [schemas.examples_request(name, is_only=name == DEFAULT_SIGNATURE) for name in names]
            }
    return made


def _paths(address: str, version: _Version) -> dict[str, Any]:
    path = f"/v1/models/{address}"
    subject = f"model {version.model}, version {version.number}"
    made: dict[str, Any] = {}
    if version.predicted:
        operation = _operation(path, "predict", f"Predict with {subject}", version.ref("predict", "answer"))
        made[f"{path}:predict"] = {"post": operation | _body(version.ref("predict"))}
    for method in (CLASSIFY, REGRESS):
        if version.of_method(method):
            operation = _operation(path, method, f"{method.capitalize()} with {subject}", reference(f"{method}_answer"))
            made[f"{path}:{method}"] = {"post": operation | _body(version.ref(method))}
    made[path] = {"get": _operation(path, "status", f"Status of {subject}", reference("status"))}
    made[f"{path}/metadata"] = {"get": _operation(path, "metadata", f"Signatures of {subject}", reference("metadata"))}
    return made


def _operation(path: str, what: str, summary: str, answer: Schema) -> dict[str, Any]:
    return {
        "operationId": ".".join((*map(_plain, path.removeprefix("/v1/models/").split("/")), what)),
        "summary": summary,
        "responses": {
            "200": {"description": "The answer.", "content": _json(answer)},
            "default": {"description": "The request is refused, or has failed.", "content": _json(reference("error"))},
        },
    }


def _body(schema: Schema) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": _json(schema)}}


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
