"""The rendered parts of a bundle, and how to write them, in a build or later."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.bundle.files import link_or_copy, own_file
from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import Manifest, files_under
from bundler.errors import TfbundleError, UsageError, VerifyError
from bundler.render import RenderContext, RenderedModel, dns_label
from bundler.spec.bundle_spec import BundleSpec, parse_spec
from bundler.values.signature import Signature

if TYPE_CHECKING:
    from bundler.bundle.staging import Published, Staging

PARTS = {
    "serving": "tf_serving",
    "kubernetes": "kubernetes",
    "docker": "docker",
    "smoke": "smoke",
    "report": "report",
    "openapi": "openapi",
}
"""Name of a part, as in `tfbundle render`, to the module of this package that renders it."""


def render_parts(
    staging: Staging,
    manifest: Manifest,
    parts: Sequence[str] = tuple(PARTS),
    *,
    failures: Mapping[str, TfbundleError] | None = None,
) -> None:
    """Write parts of the bundle that `manifest` describes into the staging folder.

    Args:
        staging: the build's private folder.
        manifest: the content of bundle.json.
        parts: the parts to write.
        failures: why further models could not be built, by name, for the report.

    Raises:
        SpecError: The spec names a model, version or label that does not exist.
        VerifyError: A file of the bundle is a link that leads out of it.
    """
    _link_golden(staging, manifest)
    reasons = {name: f"{error.what}\n{error.fix or ''}".strip() for name, error in (failures or {}).items()}
    context = replace(render_context(staging.bundle.root.name, manifest, staging.layout), failures=reasons)
    for part in parts:
        render: Callable[[RenderContext, Path], list[Path]]
        render = import_module(f"bundler.render.{PARTS[part]}").render
        render(context, staging.layout.root)


def rerender(root: Path, parts: Sequence[str], spec: BundleSpec | None = None) -> Published:
    """Write parts of a bundle again, with the settings of an edited spec if one is given.

    Of the spec, only the sections serving, kubernetes and docker are used; no model is built. Promoted labels keep their
    versions.

    Raises:
        UsageError: A part does not exist.
        VerifyError: `root` is not a bundle, or is a damaged one.
        PublishError: The folder cannot be written, or a build is writing to it.
        SpecError: The settings name a model, version or label that does not exist.
    """
    from bundler.bundle.labels import merge_serving
    from bundler.bundle.staging import Staging

    for part in parts:
        if part not in PARTS:
            raise UsageError(f"Unknown part {part!r}.", fix=f"choose one of: {', '.join(PARTS)}", code="TFB1002")
    if not Manifest.read(BundleLayout(root).manifest).models:
        raise VerifyError(
            "The bundle has no model, so nothing can be rendered.",
            where=str(root),
            fix="build the bundle again",
            code="TFB5104",
        )
    with Staging(root) as staging:
        assert staging.manifest is not None
        manifest = staging.manifest
        notices: tuple[str, ...] = ()
        if spec is not None:
            settings = {
                key: getattr(spec, key).model_dump(mode="json") for key in ("serving", "kubernetes", "docker")
            }
            settings["serving"], notices = merge_serving(manifest, settings["serving"], spec.stated_serving)
            manifest = replace(manifest, spec={**manifest.spec, **settings})
        render_parts(staging, manifest, parts)
        return staging.publish(manifest, notices)


def render_context(name: str, manifest: Manifest, staged: BundleLayout | None = None) -> RenderContext:
    """Return the context that the renderers take.

    Args:
        name: The bundle's name.
        manifest: The content of bundle.json.
        staged: Layout of the staging folder, to measure versions whose files the manifest does not list yet.
    """
    spec = parse_spec(dict(manifest.spec), where="bundle.json")
    models = tuple(_rendered(spec, name, manifest, staged) for name in _ordered(spec, manifest))
    return RenderContext(dns_label(name), spec, models, manifest.content())


def _ordered(spec: BundleSpec, manifest: Manifest) -> list[str]:
    names = [model.name for model in spec.models if model.name in manifest.models]
    return names + sorted(set(manifest.models) - set(names))


def _rendered(spec: BundleSpec, name: str, manifest: Manifest, staged: BundleLayout | None) -> RenderedModel:
    versions = manifest.versions(name)
    record = manifest.models[name][versions[-1]]
    signatures = {key: Signature.from_json(value) for key, value in record["signatures"].items()}
    first = {"serving_default": signatures["serving_default"]} if "serving_default" in signatures else {}
    tolerance = record.get("parity", {}).get("tolerance", 1e-4)
    prefix = f"models/{name}/{versions[-1]}/"
    size, graph = _size(prefix, manifest, staged), _size(f"{prefix}saved_model.pb", manifest, staged)
    fast_path = record.get("fast_path", {})
    # Interpreters widen the weights of a float16 file to float32 when they load it.
    weights = fast_path.get("size_bytes", 0) * (2 if fast_path.get("form") == "float16" else 1)
    largest_batch = max(manifest.models[name][version].get("largest_batch", 0) for version in versions)
    return RenderedModel(
        name, tuple(versions), size, first | signatures, tolerance, weights, largest_batch,
        ignores_padding=_ignores_padding(name, manifest), graph_bytes=graph,
    )  # fmt: skip


def _ignores_padding(name: str, manifest: Manifest) -> bool | None:
    records = [manifest.models[name][version].get("parity", {}).get("padded", {}) for version in manifest.versions(name)]
    changes = [bool(answers.get("changes")) for record in records for answers in record.values()]
    return not any(changes) if changes else None


def _size(prefix: str, manifest: Manifest, staged: BundleLayout | None) -> int:
    """Return the size of the files of the bundle whose paths begin with `prefix`, a folder or a file."""
    known = sum(entry.size for path, entry in manifest.files.items() if path.startswith(prefix))
    if known or staged is None:
        return known
    path = staged.root / prefix
    return sum(file.stat().st_size for file in ([path] if path.is_file() else files_under(path)))


def _link_golden(staging: Staging, manifest: Manifest) -> None:
    """Link golden data of earlier versions into the staging folder: the smoke test includes every served version."""
    for model in manifest.models:
        for version in manifest.versions(model):
            source = staging.bundle.golden_file(model, version)
            target = staging.layout.golden_file(model, version)
            if not target.exists() and own_file(staging.bundle.root, source).exists():
                link_or_copy(source.resolve(), target)
