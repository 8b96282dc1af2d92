"""Labels of versions: which version is `stable`, which is `canary`, since when, and what was before.

Labels stand in bundle.json's spec, under `serving.labels`, from which every config file is rendered; `promotions` beside it has
each change. A label that was promoted is moved by promote alone: bundle.yaml sets the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.bundle.labels import assignments, set_label
from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import Manifest
from bundler.bundle.staging import Published, Staging
from bundler.errors import UsageError

if TYPE_CHECKING:
    from bundler.render import RenderContext

_LABEL = re.compile(r"^[A-Za-z][A-Za-z0-9_\-]{0,62}$")


@dataclass(frozen=True)
class RunningServer:
    """A running server that is to follow.

    Attributes:
        target: `host:port` of its gRPC port.
        models_dir: absolute path of the bundle's models where it runs.
        timeout: seconds until the version serves there.
    """

    target: str
    models_dir: str
    timeout: float


@dataclass(frozen=True)
class Promoted:
    """What a promotion did.

    Attributes:
        before, version: the label's version before and now; None: it had none.
        versions: versions of the model that are served now.
        published: None if the bundle said so already.
    """

    model: str
    label: str
    before: int | None
    version: int | None
    versions: tuple[int, ...]
    published: Published | None


def promote(root: Path, model: str | None, label: str, version: int, server: RunningServer | None = None) -> Promoted:
    """Let a label name a version, in the bundle and, with `server`, there: loaded and AVAILABLE before the label moves.

    Args:
        model: None: the only one.

    Raises:
        UsageError: the bundle has no such model or version, or the label is none.
        VerifyError: `root` is no bundle, or a damaged one.
        PublishError: the folder cannot be written, or a build is writing into it.
        ServingError: the server does not follow; the bundle is as it was unless the message says otherwise.
    """
    if not _LABEL.match(label):
        raise UsageError(f"{label!r} cannot be a label.", fix="letters, digits, '_' and '-', e.g. stable or canary")
    Manifest.read(BundleLayout(root).manifest)
    with Staging(root) as staging:
        manifest = _read(staging)
        name = _model(manifest, model)
        if version not in manifest.versions(name):
            known = ", ".join(map(str, manifest.versions(name)))
            raise UsageError(f"Model {name!r} has no version {version} in {root}.", fix=f"one of: {known}")
        return _move(staging, name, label, version, "promote", server)


def rollback(root: Path, model: str | None, label: str, server: RunningServer | None = None) -> Promoted:
    """Let a label name what it named before its last promotion; another roll-back goes one further. Errors as in `promote`."""
    Manifest.read(BundleLayout(root).manifest)
    with Staging(root) as staging:
        manifest = _read(staging)
        name = _model(manifest, model)
        former = assignments(manifest.promotions, name, label)
        if not former:
            raise UsageError(
                f"The label {label!r} of model {name!r} was never promoted, or all of it is rolled back.",
                fix="`tfbundle promote DIR` lists the labels and their history",
            )
        version = former[-1]
        if version is not None and version not in manifest.versions(name):
            known = ", ".join(map(str, manifest.versions(name)))
            raise UsageError(
                f"The label {label!r} of model {name!r} named version {version}, which is gone.",
                fix=f"promote one that there is: {known}",
            )
        return _move(staging, name, label, version, "rollback", server)


def _read(staging: Staging) -> Manifest:
    assert staging.manifest is not None  # read before the lock was taken
    return staging.manifest


def _model(manifest: Manifest, asked: str | None) -> str:
    known = sorted(manifest.models)
    if asked is None and len(known) == 1:
        return known[0]
    if asked not in known:
        what = f"The bundle has no model {asked!r}." if asked else "The bundle has several models."
        raise UsageError(what, fix=f"--model with one of: {', '.join(known)}")
    return asked


def _changed(manifest: Manifest, model: str, label: str, version: int | None, kind: str) -> Manifest:
    serving: Mapping[str, Any] = manifest.spec["serving"]
    labels = {name: dict(of) for name, of in serving["labels"].items()}
    versions = {name: list(of) for name, of in serving["versions"].items()}
    before = labels.get(model, {}).get(label)
    if before == version:
        return manifest
    set_label(labels, versions, model, label, version)
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    entry = {"at": at, "kind": kind, "model": model, "label": label, "before": before, "version": version}
    spec = {**manifest.spec, "serving": {**serving, "labels": labels, "versions": versions}}
    return replace(manifest, spec=spec, promotions=(*manifest.promotions, entry))


def _move(
    staging: Staging, model: str, label: str, version: int | None, kind: str, server: RunningServer | None
) -> Promoted:
    """Load in the server, publish the bundle, then label in the server: a failure leaves the old label serving."""
    from bundler.render.parts import render_context, render_parts
    from bundler.render.tf_serving import served_versions

    manifest = _read(staging)
    changed = _changed(manifest, model, label, version, kind)
    name = staging.bundle.root.name
    context = render_context(name, changed)
    reload = _reload(render_context(name, manifest), context, changed, server) if server else None
    if reload:
        reload.load()
    published = None
    if changed is not manifest:
        render_parts(staging, changed)
        published = staging.publish(changed)
    if reload:
        _label(reload, label, version)
    before = manifest.spec["serving"]["labels"].get(model, {}).get(label)
    served = served_versions(context)[model]
    return Promoted(model, label, before, version, served, published)


def _reload(before: RenderContext, after: RenderContext, manifest: Manifest, server: RunningServer) -> Any:
    from bundler.render.tf_serving import server_config
    from serving.client.reload import Reload

    configs = [server_config(context, server.models_dir) for context in (before, after)]
    available = {model: manifest.versions(model) for model in manifest.models}
    return Reload(server.target, configs[0], configs[1], available, timeout=server.timeout)


def _label(reload: Any, label: str, version: int | None) -> None:
    from serving.errors import ServingError

    try:
        reload.label()
    except ServingError as exc:
        exc.what = f"The bundle has the label {label} at version {version}, the server does not: {exc.what}"
        again = f"`--label {label} --version {version} --server …` once more, or " if version else ""
        exc.fix = f"{again}give the server the bundle's serving/models.config"
        raise
