"""report.html: the results of a build for people to read. One page, without scripts, that loads no other resource."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from bundler.bundle.layout import BundleLayout
from bundler.bundle.schema import read_manifest
from bundler.render import RenderContext, tf_serving
from bundler.render.files import read_template, render_template, write_text
from bundler.render.report.view import model_view


def render(context: RenderContext, folder: Path) -> list[Path]:
    """Write report.html from the content of bundle.json (`context.manifest`).

    Raises:
        VerifyError: bundle.json lacks a key that the report shows.
    """
    manifest = read_manifest(context.manifest)
    served = tf_serving.served_versions(context)
    models = [model_view(model, manifest.models[model.name], served[model.name]) for model in context.models]
    page = render_template(
        "report.html.j2",
        name=context.name,
        models=models,
        failures=context.failures,
        tools=manifest.tools,
        serving=context.spec.serving,
        image=context.image,
        css=Markup(read_template("report.css")),  # trusted: a file of this package
    )
    return [write_text(BundleLayout(folder).report, page)]
