"""`tfbundle sign`: write a bundle's bill of materials and provenance, and sign them with all its files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import Manifest
from bundler.bundle.reader import BundleReader
from bundler.bundle.staging import Staging
from bundler.delivery.supply_chain import attachments, papers, signature
from bundler.delivery.supply_chain.keys import SigningKey
from bundler.delivery.supply_chain.signature import Identity, Trust
from bundler.errors import VerifyError
from bundler.process.extras import require
from serving.texts import shell_command


@dataclass(frozen=True)
class Signed:
    """A signed bundle.

    Attributes:
        signature: path of the signature.
        files: number of files that it covers.
    """

    signature: Path
    files: int


def sign(root: Path, signer: SigningKey | Identity) -> Signed:
    """Write the papers of a bundle and sign it. An earlier signature is replaced; if signing fails, it stays.

    Args:
        root: the bundle's folder.
        signer: the key, or who signs without one.

    Raises:
        VerifyError: the folder is not a bundle, or is not what bundle.json says.
        PublishError: another build writes into the bundle, or its folder cannot be written.
        UsageError: an identity is needed and cannot be had.
        MissingExtraError: a package of `tfbundle[sign]` is not installed.
    """
    require("sign", "A signature")
    BundleReader.open(root)  # a folder that is not a bundle gets no lock file
    with Staging(root) as staging:
        layout = staging.bundle
        manifest = Manifest.read(layout.manifest)
        folder, old = layout.attestations_dir, staging.work / "attestations"
        signature.check_no_links(layout, [layout.relative(layout.bom), *manifest.files])
        with attachments.replaced(folder, old):
            files = _sign(layout, manifest, signer)
    return Signed(layout.signature, files)


def _sign(layout: BundleLayout, manifest: Manifest, signer: SigningKey | Identity) -> int:
    for paper, content in papers.render(layout, manifest).items():
        paper.parent.mkdir(parents=True, exist_ok=True)
        paper.write_bytes(content)
    paths = signature.signed_paths(layout, manifest)
    unlisted = signature.unlisted_files(layout, paths)
    missing = [path for path in paths if not (layout.root / path).exists()]
    if unlisted or missing:
        what = f"{unlisted[0]} is not part of it" if unlisted else f"{missing[0]} is missing"
        raise _not_intact(layout, what)
    target = layout.signature.with_suffix(".part")
    digests = signature.make(layout, paths, signer, target)
    for path, entry in manifest.files.items():
        if digests[path] != entry.sha256:
            raise _not_intact(layout, f"{path} was changed")
    target.replace(layout.signature)
    return len(paths)


def _not_intact(layout: BundleLayout, what: str) -> VerifyError:
    return VerifyError(
        f"The bundle is not what bundle.json says: {what}. Nothing was signed.",
        where=str(layout.root),
        fix=f"see `{shell_command('tfbundle', 'verify', layout.root)}`; move your own files out of its folders, or build again",
        code="TFB9209",
    )


def stale_signature(root: Path) -> str | None:
    """Return what is wrong with a bundle's signature, as far as can be seen without a key; None if nothing, or if there is none.

    Args:
        root: the bundle's folder.
    """
    bundle = BundleReader.open(root)
    path = bundle.layout.relative(bundle.layout.signature)
    if not os.path.lexists(bundle.layout.signature):
        return None
    try:
        signature.check_no_links(bundle.layout, [path])
        stale = signature.is_stale(bundle.layout, bundle.manifest)
    except VerifyError as exc:
        return f"{path}: {exc.what}"
    return f"{path}: made before the last build, promotion or rendering; sign the bundle again" if stale else None


def check_signature(root: Path, trust: Trust) -> Mapping[str, str]:
    """Check the signature of a bundle, and that its bill of materials and provenance speak of its files.

    Args:
        root: the bundle's folder.
        trust: whose signature is accepted.

    Returns:
        The sha256 of every signed file, by path.

    Raises:
        VerifyError: the bundle is not what a trusted signer signed; the message says why.
        UsageError: a key or certificate cannot be read.
        MissingExtraError: a package of `tfbundle[sign]` is not installed.
    """
    require("sign", "The check of a signature")
    bundle = BundleReader.open(root)
    digests = signature.check(bundle.layout, bundle.manifest, trust)
    papers.check(bundle.layout, bundle.manifest)
    return digests
