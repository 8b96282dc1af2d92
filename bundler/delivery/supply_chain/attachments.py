"""A bundle's signature, bill of materials and provenance as attachments (OCI 1.1 referrers) of its artifact in a registry.

    signature            application/vnd.dev.sigstore.bundle.v0.3+json, with the annotations of cosign's BUNDLE_SPEC.md
    bill of materials    application/vnd.cyclonedx+json
    provenance           application/vnd.in-toto+json, one per version

The title of an attachment is the path of its file in a bundle. Anybody who may write to the repository may attach more, so which
of several is used is decided by content: a signature by whether it is genuine, the papers by the hashes that the signature has.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import Manifest
from bundler.delivery.supply_chain import bom, papers, provenance, signature
from bundler.delivery.supply_chain.signature import SignatureFile
from bundler.errors import VerifyError

if TYPE_CHECKING:
    from bundler.delivery.oci.registry import Registry
    from bundler.values.addresses import OciAddress

_TITLE = "org.opencontainers.image.title"
_LIMIT = 64 << 20
_MOST = 64
"""Attachments of one file that are looked at; anybody who can write to the repository can add some."""

Candidates = Mapping[Path, list[bytes]]
"""The documents that are attached for each file of a bundle, the oldest first."""


def attach_all(layout: BundleLayout, manifest: Manifest, registry: Registry, subject: OciAddress) -> list[str]:
    """Attach what a bundle has of its papers and signature to its artifact, the signature last.

    Args:
        layout: the bundle's paths.
        manifest: its bundle.json, as it was pushed.
        registry: the repository.
        subject: the artifact, by digest.

    Returns:
        The paths that were attached, relative to the bundle; empty if the bundle was never signed.

    Raises:
        VerifyError: the papers or the signature are of another bundle.json.
        DeliveryError: the registry cannot be reached, or refuses.
    """
    from bundler.delivery.oci.referrers import attach

    if not os.path.lexists(layout.signature):
        return []
    paths = [*layout.papers(manifest.models), layout.signature]
    signature.check_no_links(layout, [layout.relative(path) for path in paths])
    if signature.is_stale(layout, manifest):
        raise VerifyError(
            "The bundle was signed before the last build, promotion or rendering, so its signature was not attached.",
            where=str(layout.signature),
            fix="sign it again and push it again",
            code="TFB9208",
        )
    papers.check(layout, manifest)
    for path in paths:
        media_type, facts = _kind(layout, path)
        title = layout.relative(path)
        attach(registry, subject, media_type, media_type, path.read_bytes(), {_TITLE: title, **facts})
    return [layout.relative(path) for path in paths]


def _kind(layout: BundleLayout, path: Path) -> tuple[str, dict[str, str]]:
    """Return the media type of a file, and the annotations by which other tools know what it is."""
    if path == layout.signature:
        facts = {
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": signature.PREDICATE_TYPE,
        }
        return signature.MEDIA_TYPE, facts
    if path == layout.bom:
        return bom.MEDIA_TYPE, {}
    return provenance.MEDIA_TYPE, {"in-toto.io/predicate-type": provenance.PREDICATE_TYPE}


def candidates(layout: BundleLayout, manifest: Manifest, registry: Registry, subject: OciAddress) -> Candidates:
    """Fetch what is attached for each file of a bundle.

    Args:
        layout: the bundle's paths.
        manifest: its bundle.json.
        registry: the repository.
        subject: the artifact.

    Raises:
        DeliveryError: the registry cannot be reached, or sends something else than was announced.
    """
    from bundler.delivery.oci.referrers import fetch, referrers

    known = {layout.relative(path): path for path in (*layout.papers(manifest.models), layout.signature)}
    found: dict[Path, list[bytes]] = {path: [] for path in known.values()}
    for entry in referrers(registry, subject):
        path = known.get(entry.annotations.get(_TITLE, ""))
        if path is not None and entry.artifact_type == _kind(layout, path)[0] and len(found[path]) < _MOST:
            found[path].append(fetch(registry, entry, _LIMIT))
    return found


def require(layout: BundleLayout, found: Candidates, where: str) -> None:
    """Raise if the artifact lacks a signature, a bill of materials or a provenance.

    Raises:
        VerifyError: nothing is attached for one of them.
    """
    for path, documents in found.items():
        if not documents:
            name = "signature" if path == layout.signature else "bill of materials" if path == layout.bom else "provenance"
            of = "" if name != "provenance" else f" of {path.parent.name} version {path.name.split('.')[0]}"
            raise stripped(f"{name}{of}", where)


def stripped(what: str, where: str) -> VerifyError:
    """Return the error for an artifact that lacks an attachment."""
    return VerifyError(
        f"The artifact in the registry has no {what}: it was never attached, or somebody has removed it.",
        where=where,
        fix="ask who pushed it; a push of a signed bundle attaches it",
        code="TFB9212",
    )


def write(layout: BundleLayout, found: Candidates, chosen: bytes | None = None) -> None:
    """Write attachments as files of a bundle: those papers whose hashes the signature has, or else the newest.

    Args:
        layout: the bundle's paths.
        found: what is attached.
        chosen: the signature; default: the newest.
    """
    signatures = found[layout.signature]
    chosen = chosen or (signatures[-1] if signatures else None)
    claimed = _claims(layout, chosen)
    for path, documents in found.items():
        content = chosen if path == layout.signature else _matching(documents, claimed.get(layout.relative(path)))
        if content is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _claims(layout: BundleLayout, content: bytes | None) -> Mapping[str, str]:
    try:
        return SignatureFile.parse(content, layout.signature).digests if content else {}
    except VerifyError:
        return {}  # the check of the signature will say so


def _matching(documents: list[bytes], sha256: str | None) -> bytes | None:
    matching = [document for document in documents if hashlib.sha256(document).hexdigest() == sha256]
    return next(iter([*matching, *reversed(documents)]), None)


@contextmanager
def replaced(folder: Path, aside: Path) -> Iterator[None]:
    """Move a folder aside while a new one is written in its place; if that fails, it is put back.

    Args:
        folder: the folder, if there is one.
        aside: a free path on the same file system.
    """
    if folder.exists():
        folder.rename(aside)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if aside.exists():
            aside.rename(folder)
        raise
