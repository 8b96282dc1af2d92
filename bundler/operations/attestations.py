"""The signature and the papers of a bundle in a registry: attached by a push, fetched and checked by a pull."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import Manifest
from bundler.delivery.supply_chain import attachments, signature
from bundler.delivery.supply_chain.attachments import Candidates
from bundler.delivery.supply_chain.signature import Trust
from bundler.errors import VerifyError
from bundler.operations.sign import check_signature
from bundler.process.extras import require
from bundler.values.addresses import OciAddress

if TYPE_CHECKING:
    from bundler.delivery.oci.registry import Registry
    from bundler.delivery.supply_chain.keys import SigningKey


def attach_all(root: Path, registry: Registry, artifact: OciAddress) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Attach what a bundle has of its papers and signature to its artifact.

    Args:
        root: the bundle's folder.
        registry: the repository.
        artifact: the artifact, by digest.

    Returns:
        The paths that were attached, and notices: a signature that is not of the pushed bundle is not attached.

    Raises:
        DeliveryError: the registry cannot be reached, or refuses.
    """
    layout = BundleLayout(root.resolve())
    try:
        return tuple(attachments.attach_all(layout, Manifest.read(layout.manifest), registry, artifact)), ()
    except VerifyError as exc:
        return (), (f"{exc.what} To do: {exc.fix}." if exc.fix else exc.what,)


def fetch_all(root: Path, registry: Registry, artifact: OciAddress, trust: Trust | None) -> bool:
    """Put what is attached to a pulled bundle beside its files and, if somebody is trusted, check the signature.

    Args:
        root: folder of the bundle, which nobody else sees yet.
        registry: the repository.
        artifact: the artifact, by digest.
        trust: whose signature is accepted; None to check nothing.

    Returns:
        Whether a signature was checked.

    Raises:
        VerifyError: an attachment is missing, or no signature is one of a trusted signer over these files.
        DeliveryError: the registry cannot be reached, or refuses.
    """
    layout = BundleLayout(root.resolve())
    shutil.rmtree(layout.attestations_dir, ignore_errors=True)  # of an earlier try
    found = attachments.candidates(layout, Manifest.read(layout.manifest), registry, artifact)
    if trust is None:
        attachments.write(layout, found)
        return False
    attachments.require(layout, found, str(artifact))
    _write_genuine(layout, found, trust)
    return True


def _write_genuine(layout: BundleLayout, found: Candidates, trust: Trust) -> None:
    """Write the newest signature that passes, with its papers; if none passes, the newest one's error is raised."""
    problem: VerifyError | None = None
    for candidate in reversed(found[layout.signature]):
        attachments.write(layout, found, candidate)
        try:
            check_signature(layout.root, trust)
        except VerifyError as exc:
            problem = problem or exc
        else:
            return
    assert problem is not None  # there is at least one signature
    raise problem


def require_signature(registry: Registry, artifact: OciAddress) -> None:
    """Raise if an artifact has no signature at all, before anything of it is fetched.

    Raises:
        VerifyError: no signature is attached.
        DeliveryError: the registry cannot be reached, or does not have the artifact.
    """
    from bundler.delivery.oci.referrers import referrers

    if not referrers(registry, artifact, signature.MEDIA_TYPE):
        raise attachments.stripped("signature", str(artifact))


def refresh(root: Path, registry: Registry, artifact: OciAddress, trust: Trust | None) -> bool:
    """Fetch again what is attached to a bundle that is in place already, as `fetch_all` does; if that fails, all stays.

    Raises:
        VerifyError: as `fetch_all`.
        DeliveryError: as `fetch_all`.
    """
    from bundler.delivery.oci.referrers import referrers

    layout = BundleLayout(root.resolve())
    folder = layout.attestations_dir
    if trust is None and (_is_current(layout) or not referrers(registry, artifact, signature.MEDIA_TYPE)):
        return False
    beside = tempfile.TemporaryDirectory(dir=root.resolve().parent, prefix=f".{root.name}.")
    with beside as aside, attachments.replaced(folder, Path(aside) / "attestations"):
        return fetch_all(root, registry, artifact, trust)


def _is_current(layout: BundleLayout) -> bool:
    """Return whether a bundle in place has a signature of its bundle.json, as far as can be seen without a key."""
    with suppress(VerifyError):
        return not signature.is_stale(layout, Manifest.read(layout.manifest))
    return False


def sign_image(address: OciAddress, key: SigningKey, *, insecure: bool = False) -> list[str]:
    """Sign what a tag or digest of a registry names, in cosign's form, for admission controllers.

    Args:
        address: the tag or digest.
        key: the private key.
        insecure: speak plain HTTP with a registry on this machine.

    Returns:
        The digests that were signed.

    Raises:
        UsageError: the key is not on P-256.
        DeliveryError: the registry cannot be reached, or refuses.
        MissingExtraError: the packages for registries or signatures are not installed.
    """
    require("sign", "A signature")
    from bundler.delivery.oci.registry import Registry
    from bundler.delivery.supply_chain import image_signature

    registry = Registry.at(address, insecure=insecure)
    return image_signature.sign(registry, address.reference, key)
