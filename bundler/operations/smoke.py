"""The golden data for a smoke test of a running server."""

from __future__ import annotations

from bundler.bundle.files import own_file
from bundler.render import RenderContext
from bundler.render.parts import render_context
from bundler.render.tf_serving import served_versions
from bundler.validation.bundle import Bundle
from serving.smoke.run import GoldenFile


def served_golden_files(bundle: Bundle, context: RenderContext | None = None) -> list[GoldenFile]:
    """Return the golden data of each version that the bundle's settings serve, by default the latest of each model.

    Adopted versions have none and are left out.

    Args:
        bundle: The bundle.
        context: Its render context, if the caller has it already.

    Raises:
        VerifyError: A file is a link that leads out of the bundle, or is not a file.
    """
    context = context or render_context(bundle.name, bundle.manifest)
    return [
        GoldenFile(model, version, own_file(bundle.path, bundle.layout.golden_file(model, version)))
        for model, versions in served_versions(context).items()
        for version in versions
        if not context.is_adopted(model, version)
    ]
