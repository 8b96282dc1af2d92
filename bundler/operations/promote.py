"""Promotion and rollback: move labels such as `stable` and `canary` between versions, and record each change.

bundle.json holds the labels in its spec, under `serving.labels`, from which all config files are rendered, and every change in
`promotions`. Once a label has been promoted, only `tfbundle promote` moves it; bundle.yaml sets all other labels.
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
from bundler.errors import ComparisonError, UsageError
from serving.texts import shell_command

if TYPE_CHECKING:
    from bundler.render import RenderContext
    from serving.client.connection import ConnectionSettings

_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_\-]{0,62}")


@dataclass(frozen=True)
class RunningServer:
    """A running server that a promotion also updates.

    Attributes:
        target: `host:port` of its gRPC port.
        models_dir: The absolute path of the bundle's models folder where the server runs.
        timeout: The number of seconds within which the server must have loaded the version.
        connection: How to connect to it, or None for the default settings.
    """

    target: str
    models_dir: str
    timeout: float
    connection: ConnectionSettings | None = None


@dataclass(frozen=True)
class Promoted:
    """The result of a promotion or rollback.

    Attributes:
        model: The model's name.
        label: The label.
        before: The version that the label pointed to before, or None if it pointed to none.
        version: The version that the label points to now, or None if it was removed.
        versions: The model's versions that are served now.
        published: The published bundle, or None if the label already pointed to the version.
    """

    model: str
    label: str
    before: int | None
    version: int | None
    versions: tuple[int, ...]
    published: Published | None


def promote(
    root: Path,
    model: str | None,
    label: str,
    version: int,
    server: RunningServer | None = None,
    *,
    require_gate: bool = False,
) -> Promoted:
    """Point a label at a version in the bundle, and in a running server if one is given.

    A running server loads the version first; the label moves only once the version is AVAILABLE there.

    Args:
        root: The bundle's folder.
        model: The model's name, or None for the bundle's only model.
        label: The label to move.
        version: The version that the label will point to.
        server: A running server to update as well.
        require_gate: Whether the version must have been compared, when it was built, with the version that the label points to
            now, and kept its bounds.

    Raises:
        UsageError: The bundle has no such model or version, or the label is not valid.
        ComparisonError: With `require_gate`, the version was not compared with the one that the label points to.
        VerifyError: `root` is not a bundle, or is a damaged one.
        PublishError: The folder cannot be written, or a build is writing to it.
        ServingError: The server cannot be updated. The bundle is unchanged unless the message says otherwise.
    """
    if not _LABEL.fullmatch(label):
        fix = "use letters, digits, '_' and '-', beginning with a letter, e.g. stable or canary"
        raise UsageError(f"{label!r} cannot be a label.", fix=fix, code="TFB1401")
    Manifest.read(BundleLayout(root).manifest)
    with Staging(root) as staging:
        manifest = _read(staging)
        name = _model(manifest, model)
        if version not in manifest.versions(name):
            known = ", ".join(map(str, manifest.versions(name)))
            raise UsageError(
                f"The model {name!r} has no version {version} in {root}.", fix=f"choose one of: {known}", code="TFB1006"
            )
        if require_gate:
            _check_gate(manifest, name, label, version)
        return _move(staging, name, label, version, "promote", server)


def rollback(root: Path, model: str | None, label: str, server: RunningServer | None = None) -> Promoted:
    """Restore the version that a label pointed to before its most recent promotion. Repeated calls undo earlier promotions.

    Args:
        root: The bundle's folder.
        model: The model's name, or None for the bundle's only model.
        label: The label to move back.
        server: A running server to update as well.

    Raises:
        UsageError: The bundle has no such model, no promotion of the label is left to undo, or the earlier version is gone.
        VerifyError: `root` is not a bundle, or is a damaged one.
        PublishError: The folder cannot be written, or a build is writing to it.
        ServingError: The server cannot be updated. The bundle is unchanged unless the message says otherwise.
    """
    Manifest.read(BundleLayout(root).manifest)
    with Staging(root) as staging:
        manifest = _read(staging)
        name = _model(manifest, model)
        earlier_versions = assignments(manifest.promotions, name, label)
        if not earlier_versions:
            raise UsageError(
                f"The label {label!r} of model {name!r} was never promoted, or all its promotions are rolled back.",
                fix=f"run `{shell_command('tfbundle', 'promote', root)}` to list the labels and their history",
                code="TFB1401",
            )
        version = earlier_versions[-1]
        if version is not None and version not in manifest.versions(name):
            known = ", ".join(map(str, manifest.versions(name)))
            raise UsageError(
                f"The label {label!r} of model {name!r} pointed to version {version}, which no longer exists.",
                fix=f"promote one of the existing versions: {known}",
                code="TFB1401",
            )
        return _move(staging, name, label, version, "rollback", server)


def _check_gate(manifest: Manifest, model: str, label: str, version: int) -> None:
    """Raise ComparisonError unless a version was found good enough to take over from the one that a label points to.

    A label that points to no version yet has none to compare with.
    """
    now = manifest.spec["serving"]["labels"].get(model, {}).get(label)
    if now is None or now == version:
        return
    gate = manifest.models[model][version].get("against")
    if gate is None:
        found = "it was not compared with any version when it was built"
    elif gate["version"] != now:
        found = f"it was compared with version {gate['version']}"
    elif not gate["passed"]:
        found = "it broke the bounds of that comparison"
    else:
        return
    raise ComparisonError(
        f"Version {version} of {model!r} may not take over from version {now}, which {label!r} points to: {found}.",
        fix=f"build it again with --against {label}, or promote it without --require-gate",
        code="TFB9302",
    )


def _read(staging: Staging) -> Manifest:
    assert staging.manifest is not None  # read before the lock was taken
    return staging.manifest


def _model(manifest: Manifest, name: str | None) -> str:
    known = sorted(manifest.models)
    if name is None and len(known) == 1:
        return known[0]
    if name not in known:
        what = f"The bundle has no model {name!r}." if name else "The bundle has several models."
        raise UsageError(what, fix=f"choose one with --model: {', '.join(known)}", code="TFB1006")
    return name


def _changed(manifest: Manifest, model: str, label: str, version: int | None, kind: str) -> Manifest:
    serving: Mapping[str, Any] = manifest.spec["serving"]
    labels = {name: dict(assigned) for name, assigned in serving["labels"].items()}
    versions = {name: list(chosen) for name, chosen in serving["versions"].items()}
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
    """Load the version in the server, publish the bundle, then move the label in the server.

    In this order, a failure leaves the old label in service.
    """
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
    return Reload(
        server.target, configs[0], configs[1], available, timeout=server.timeout, connection=server.connection
    )


def _label(reload: Any, label: str, version: int | None) -> None:
    from serving.errors import ServingError

    try:
        reload.label()
    except ServingError as exc:
        moved = f"points to version {version}" if version else "is removed"
        exc.what = f"The label {label!r} {moved} in the bundle, but not in the server: {exc.what}"
        again = f"repeat the command with --label {label} --version {version} --server …, or " if version else ""
        exc.fix = f"{again}load the bundle's serving/models.config in the server"
        raise
