"""Pushing a bundle: to a registry as an image of its models and an artifact of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from bundler.bundle.reader import BundleReader
from bundler.bundle.staging import Staging
from bundler.delivery.transfers import Progress, Totals, ignore
from bundler.errors import UsageError
from bundler.operations.attestations import attach_all
from bundler.values.addresses import OciAddress, StoreAddress

Only = Literal["models", "bundle"]

_LONGEST_TAG = 128 - len("-models")


@dataclass(frozen=True)
class PushOptions:
    """How a bundle is pushed to a registry.

    Attributes:
        only: push the image of the models or the artifact alone, under the tag itself.
        base: an image to put below the models, such as one with a shell.
        platform: the platform of the image, and the one to choose of a base image for several.
        pin: let the Kubernetes manifests name the image by its digest before the artifact is pushed.
        insecure: speak plain HTTP with a registry on this machine.
    """

    only: Only | None = None
    base: str | None = None
    platform: str = "linux/amd64"
    pin: bool = False
    insecure: bool = False


@dataclass(frozen=True)
class Pushed:
    """The result of a push.

    Attributes:
        address: the address with the digest of what its tag names now.
        image: the address of the image with its digest; None if it was not pushed.
        artifact: the address of the artifact with its digest; None if it was not pushed.
        totals: how many bytes of blobs were pushed, mounted and skipped.
        notices: what the user should know.
        attached: the signature and papers that were attached to the artifact, by their paths in the bundle.
    """

    address: OciAddress
    image: OciAddress | None
    artifact: OciAddress | None
    totals: Totals
    notices: tuple[str, ...] = field(default=())
    attached: tuple[str, ...] = ()


def push(
    root: Path, address: OciAddress | StoreAddress, options: PushOptions, progress: Progress = ignore
) -> Pushed:
    """Push a bundle to the place that an address names.

    Args:
        root: the bundle's folder.
        address: a tag in a registry.
        options: how.
        progress: is told about each part.

    Raises:
        UsageError: options contradict each other, or the address has no tag.
        VerifyError: `root` is not a bundle, or a file is not what bundle.json says.
        DeliveryError: the registry cannot be reached, refuses, or keeps failing.
        PublishError: the manifests are to be pinned, but the bundle's folder cannot be written.
        MissingExtraError: the packages for registries are not installed.
    """
    if isinstance(address, OciAddress):
        return _push_to_registry(root, address, options, progress)
    raise UsageError(
        f"{address} is not the address of a registry.", fix="write oci://HOST/REPOSITORY:TAG", code="TFB9001"
    )


def _push_to_registry(root: Path, address: OciAddress, options: PushOptions, progress: Progress) -> Pushed:
    from bundler.delivery.oci.image import Platform
    from bundler.delivery.oci.push import Pusher, tags
    from bundler.delivery.oci.registry import Registry

    tag = _tag(address)
    _check(options)
    platform = Platform.parse(options.platform)
    bundle = BundleReader.open(root)
    registry = Registry.at(address, insecure=options.insecure)
    pusher = Pusher(registry, progress)
    notices: tuple[str, ...] = ()
    image_tag, artifact_tag = (tag, tag) if options.only else tags(tag)
    image = None
    if options.only != "bundle":
        base = _base(registry, options, platform)
        image = pusher.push_image(bundle, image_tag, platform, base).image
        if options.pin:
            bundle, notices = _pinned(root, address.pinned(image.descriptor.digest))
        if options.only == "models":
            pinned = address.pinned(image.descriptor.digest)
            return Pushed(pinned, pinned, None, pusher.totals, notices)
    artifact = pusher.push_artifact(bundle, artifact_tag, image)
    pinned = address.pinned(artifact.digest)
    attached, more = attach_all(root, registry, pinned)
    notices += more
    if image is None:
        return Pushed(pinned, None, pinned, pusher.totals, notices, attached)
    index = pusher.push_index(bundle, tag, image, artifact)
    of_image = replace(address, tag=image_tag, digest=image.descriptor.digest)
    of_artifact = replace(address, tag=artifact_tag, digest=artifact.digest)
    return Pushed(address.pinned(index.digest), of_image, of_artifact, pusher.totals, notices, attached)


def _tag(address: OciAddress) -> str:
    if address.tag is None or address.digest or len(address.tag) > _LONGEST_TAG:
        what = "has a digest, which only a pull can name" if address.digest else "has no tag of at most 121 characters"
        raise UsageError(
            f"{address} {what}.", fix="push to oci://HOST/REPOSITORY:TAG, with the version as the tag", code="TFB9001"
        )
    return address.tag


def _check(options: PushOptions) -> None:
    if options.only == "bundle" and (options.base or options.pin):
        flag = "--base" if options.base else "--pin"
        raise UsageError(
            f"{flag} is about the image of the models, which --only bundle does not push.",
            fix=f"omit {flag} or --only bundle",
            code="TFB1001",
        )


def _base(registry: Any, options: PushOptions, platform: Any) -> Any:
    """Return the base image; one in the same registry is read by the same connection."""
    from bundler.delivery.oci.hosts import is_local
    from bundler.delivery.oci.image import read_base
    from bundler.delivery.oci.registry import Registry

    if options.base is None:
        return None
    address = OciAddress.parse(options.base if "://" in options.base else f"oci://{options.base}")
    if address.registry == registry.address.registry:
        return read_base(registry.beside(address.repository), address, platform)
    insecure = options.insecure and is_local(address.registry)
    return read_base(Registry.at(address, insecure=insecure), address, platform)


def _pinned(root: Path, image: OciAddress) -> tuple[BundleReader, tuple[str, ...]]:
    """Let the bundle's spec and manifests name an image; return the bundle as it is then."""
    from bundler.render.parts import render_parts

    with Staging(root) as staging:
        assert staging.manifest is not None  # it has been read before
        manifest = staging.manifest
        kubernetes: Mapping[str, Any] = manifest.spec["kubernetes"]
        if kubernetes.get("volume_image") == image.image:
            return BundleReader.open(root), tuple(staging.notices)
        spec = {**manifest.spec, "kubernetes": {**kubernetes, "volume_image": image.image}}
        changed = replace(manifest, spec=spec)
        render_parts(staging, changed)
        published = staging.publish(changed)
    return BundleReader.open(root), published.notices
