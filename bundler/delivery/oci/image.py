"""The image of a bundle's models: a standard OCI image with the folder /models, one layer per version (image-spec, config.md).

It is what KServe calls a modelcar, and an image volume for TensorFlow Serving. Alone it holds nothing else; above a base image
with a shell it also runs as the container that KServe's `oci://` starts beside the server. Nothing in it has a time, so the same
models always make the same image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bundler.delivery.oci.descriptors import INDEXES, MANIFEST, Descriptor, descriptors, malformed, parse, to_bytes
from bundler.delivery.oci.layers import LAYER, Sealed
from bundler.delivery.oci.registry import Registry
from bundler.errors import DeliveryError, UsageError
from bundler.values.addresses import OciAddress

CONFIG = "application/vnd.oci.image.config.v1+json"
_DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYERS = {
    LAYER: LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER,
    "application/vnd.oci.image.layer.v1.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
"""The media types of a base image's layers, with the type that an OCI image gives the same bytes."""

_PLATFORM = re.compile(r"(?P<os>[a-z0-9]+)/(?P<architecture>[a-z0-9_]+)(?:/(?P<variant>[a-z0-9]+))?")
_INHERITED = ("config", "os.version", "os.features")


@dataclass(frozen=True)
class Platform:
    """A platform of an image, as Go names it."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Return the platform that `OS/ARCHITECTURE[/VARIANT]` stands for.

        Raises:
            UsageError: the text has another form.
        """
        match = _PLATFORM.fullmatch(text)
        if match is None:
            raise UsageError(
                f"{text!r} is not a platform.", fix="write it like linux/amd64 or linux/arm64", code="TFB9013"
            )
        return cls(match["os"], match["architecture"], match["variant"] or "")

    def to_json(self) -> dict[str, str]:
        """Return the platform as an index or a config writes it."""
        variant = {"variant": self.variant} if self.variant else {}
        return {"architecture": self.architecture, "os": self.os, **variant}

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


@dataclass(frozen=True)
class Base:
    """An image below the models.

    Attributes:
        registry: the repository that has it.
        layers: its layers.
        config: its config.
        name: its address without a scheme.
        digest: digest of its manifest.
    """

    registry: Registry
    layers: tuple[Descriptor, ...]
    config: dict[str, Any]
    name: str
    digest: str

    @property
    def diff_ids(self) -> list[str]:
        """The digests of its layers when they are uncompressed."""
        return list(self.config["rootfs"]["diff_ids"])


@dataclass(frozen=True)
class Image:
    """An image that is ready to be pushed.

    Attributes:
        config: the bytes of its config.
        manifest: the bytes of its manifest.
        platform: the platform that it is for.
    """

    config: bytes
    manifest: bytes
    platform: Platform

    @property
    def descriptor(self) -> Descriptor:
        """Its entry in an index."""
        return Descriptor.of(self.manifest, MANIFEST, platform=self.platform.to_json())


def make_image(layers: Sequence[Sealed], annotations: dict[str, str], platform: Platform, base: Base | None = None) -> Image:
    """Return the image of layers.

    Args:
        layers: the layers of the versions.
        annotations: facts for its manifest.
        platform: the platform that it says it is for; files of models are the same on all.
        base: an image to put below.
    """
    below = base.config if base else {}
    history = [dict(row) for row in below.get("history") or []]
    history += [{"created_by": f"tfbundle push: {layer.descriptor.annotations[_TITLE]}"} for layer in layers]
    diff_ids = (base.diff_ids if base else []) + [layer.diff_id for layer in layers]
    if sum(not row.get("empty_layer") for row in history) != len(diff_ids):
        history = []
    config = to_bytes(
        {
            **{key: below[key] for key in _INHERITED if key in below},
            **platform.to_json(),
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            **({"history": history} if history else {}),
        }
    )
    rows = [*(base.layers if base else ()), *(layer.unpacked_by_oras for layer in layers)]
    origin = {f"{_STANDARD}base.name": base.name, f"{_STANDARD}base.digest": base.digest} if base else {}
    manifest = to_bytes(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": Descriptor.of(config, CONFIG).to_json(),
            "layers": [row.to_json() for row in rows],
            "annotations": {**annotations, **origin},
        }
    )
    return Image(config, manifest, platform)


_STANDARD = "org.opencontainers.image."
_TITLE = f"{_STANDARD}title"


def read_base(registry: Registry, address: OciAddress, platform: Platform) -> Base:
    """Return an image to put below the models.

    Args:
        registry: the repository that has it.
        address: its tag or digest.
        platform: which of its images, if it is for several platforms.

    Raises:
        DeliveryError: the registry does not have it for that platform, or it is not an image of files.
    """
    document = registry.document(address.reference)
    if document.descriptor.media_type in INDEXES:
        entries = descriptors(document.content, "manifests", where=document.where)
        fitting = [entry for entry in entries if _fits(entry, platform)]
        if not fitting:
            known = sorted({_named(entry) for entry in entries if entry.platform.get("os") not in (None, "unknown")})
            raise DeliveryError(
                f"The base image {address.image} is not there for {platform}.",
                fix=f"choose one with --platform: {', '.join(known) or 'it has none'}",
                code="TFB9013",
            )
        document = registry.document(fitting[0].digest)
    config = Descriptor.from_json(document.content.get("config"), where=document.where)
    layers = descriptors(document.content, "layers", where=document.where)
    foreign = [layer.media_type for layer in layers if layer.media_type not in _LAYERS]
    if foreign or config.media_type not in (CONFIG, _DOCKER_CONFIG):
        raise DeliveryError(
            f"{address.image} cannot be a base: it is not an image whose layers can be copied "
            f"({(foreign or [config.media_type])[0][:80]}).",
            fix="choose a plain image, e.g. --base docker.io/library/busybox:1.37",
            code="TFB9013",
        )
    content = parse(registry.read_bytes(config), where=document.where)
    return Base(registry, _as_oci(layers), _checked(content, layers, document.where), address.image, document.descriptor.digest)


def _fits(entry: Descriptor, platform: Platform) -> bool:
    wanted = platform.to_json()
    return all(entry.platform.get(key) == value for key, value in wanted.items())


def _named(entry: Descriptor) -> str:
    return "/".join(entry.platform[key] for key in ("os", "architecture", "variant") if entry.platform.get(key))


def _as_oci(layers: Sequence[Descriptor]) -> tuple[Descriptor, ...]:
    return tuple(Descriptor(_LAYERS[layer.media_type], layer.digest, layer.size) for layer in layers)


def _checked(config: dict[str, Any], layers: Sequence[Descriptor], where: str) -> dict[str, Any]:
    rootfs = config.get("rootfs")
    diff_ids = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    history = config.get("history") or []
    if not isinstance(diff_ids, list) or len(diff_ids) != len(layers) or not all(isinstance(row, dict) for row in history):
        raise malformed("the config of the base image does not fit its layers", where)
    return config
