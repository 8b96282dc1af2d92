"""openapi.json: the REST interface of the bundle's models, for code generators, gateways and API portals."""

from __future__ import annotations

from pathlib import Path

from bundler.bundle.layout import BundleLayout
from bundler.bundle.schema import read_manifest
from bundler.render import RenderContext, tf_serving
from bundler.render.files import write_text
from bundler.values.signature import Signature, TensorSpec
from serving.protocol.openapi.document import ServedModel, document
from serving.protocol.openapi.schemas import PREDICT, Interface, Tensor
from serving.texts import json_text


def render(context: RenderContext, folder: Path) -> list[Path]:
    """Write openapi.json for the versions that the server serves, from the content of bundle.json (`context.manifest`).

    Raises:
        VerifyError: bundle.json lacks a key that the document shows.
    """
    read_manifest(context.manifest)
    served = tf_serving.served_versions(context)
    models = [
        ServedModel(
            model.name,
            {number: _signatures(context, model.name, number) for number in served[model.name]},
            context.spec.serving.labels.get(model.name, {}),
        )
        for model in context.models
    ]
    newest = ", ".join(f"{model.name} {max(model.versions)}" for model in models)
    made = document(context.name, newest, models, url=f"http://localhost:{context.spec.serving.rest_port}")
    return [write_text(BundleLayout(folder).openapi, json_text(made, indent=1) + "\n")]


def _signatures(context: RenderContext, model: str, version: int) -> dict[str, Interface]:
    record = context.manifest["models"][model]["versions"][str(version)]
    methods = record.get("methods", {})
    return {
        name: _interface(Signature.from_json(each), methods.get(name, PREDICT)) for name, each in record["signatures"].items()
    }


def _interface(signature: Signature, method: str) -> Interface:
    return Interface(_tensors(signature.inputs), _tensors(signature.outputs), method)


def _tensors(specs: tuple[TensorSpec, ...]) -> dict[str, Tensor]:
    return {spec.name: Tensor(spec.dtype, spec.shape) for spec in specs}
