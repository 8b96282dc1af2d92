"""Pushing a bundle: layers first, then the image, the artifact, and last the tag with the index that lists both.

    TAG          an index with the image and the artifact: one tag to pull, run, copy and delete
    TAG-models   the image alone, for tools that want no index
    TAG-bundle   the artifact alone, e.g. for `oras pull`

The index is written in one request, so the image and artifact behind a tag always belong together, also if two commands push the
same tag at once. Further tags keep the registry's clean-up from what the index names by digest only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from bundler.bundle.reader import BundleReader
from bundler.delivery.oci import artifact, seals
from bundler.delivery.oci.descriptors import INDEX, MANIFEST, Descriptor, to_bytes
from bundler.delivery.oci.image import Base, Image, Platform, make_image
from bundler.delivery.oci.layers import Layer, PackedFile, Reading, Sealed, read_file
from bundler.delivery.oci.referrers import BUNDLE_TYPE
from bundler.delivery.oci.registry import Chunks, Registry, Report
from bundler.delivery.transfers import Outcome, Progress, Totals, Transfer, ignore

_NO_PLATFORM = {"architecture": "unknown", "os": "unknown"}
"""The platform of the artifact in the index, so that no runtime takes it for an image (as BuildKit marks attestations)."""


@dataclass(frozen=True)
class PushedImage:
    """The image in the registry, with its layers, which the artifact has too."""

    image: Image
    layers: tuple[Sealed, ...]


class Pusher:
    """Pushes a bundle to a repository.

    Attributes:
        totals: what was pushed, mounted and skipped so far.
    """

    def __init__(self, registry: Registry, progress: Progress = ignore) -> None:
        """Keep the repository, and who is told about the progress."""
        self.totals = Totals()
        self._registry = registry
        self._progress = progress
        self._sealed: dict[str, Sealed] = {}
        self._streamed: set[str] = set()

    def push_image(self, bundle: BundleReader, tag: str, platform: Platform, base: Base | None = None) -> PushedImage:
        """Push the image of the models under a tag.

        Raises:
            DeliveryError: the registry cannot be reached, refuses, or keeps failing.
            VerifyError: a file of the bundle is not what bundle.json says.
        """
        layers = tuple(self._push_layer(layer) for layer in artifact.divide(bundle).models)
        if base is not None:
            for layer in base.layers:
                self._copy(base, layer)
        image = make_image(layers, artifact.facts_of(bundle), platform, base)
        self._push_bytes("config of the image", image.config)
        self._registry.put_manifest(image.manifest, MANIFEST, tag=tag)
        return PushedImage(image, layers)

    def push_artifact(self, bundle: BundleReader, tag: str, image: Image | None = None) -> Descriptor:
        """Push the whole bundle as an artifact under a tag.

        Raises:
            DeliveryError: the registry cannot be reached, refuses, or keeps failing.
            VerifyError: a file of the bundle is not what bundle.json says.
        """
        parts = artifact.divide(bundle)
        data = bundle.manifest.to_bytes()
        folders = [artifact.layer_of(self._push_layer(layer)) for layer in (*parts.models, *parts.generated)]
        files = [self._push_file(bundle, file) for file in parts.files]
        self._push_bytes("bundle.json", data)
        layers = [artifact.bundle_json_layer(data), *folders, *files]
        config, manifest = artifact.make_artifact(bundle, layers, image.descriptor.digest if image else "")
        self._push_bytes("config of the artifact", config)
        self._registry.put_manifest(manifest, MANIFEST, tag=tag)
        return Descriptor.of(manifest, MANIFEST, artifact_type=BUNDLE_TYPE)

    def push_index(self, bundle: BundleReader, tag: str, image: Image, bundle_artifact: Descriptor) -> Descriptor:
        """Write the index of an image and an artifact under a tag.

        Raises:
            DeliveryError: the registry cannot be reached, refuses, or keeps failing.
        """
        rows = [image.descriptor.to_json(), {**bundle_artifact.to_json(), "platform": _NO_PLATFORM}]
        document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": rows, "annotations": artifact.facts_of(bundle)}
        data = to_bytes(document)
        self._registry.put_manifest(data, INDEX, tag=tag)
        return Descriptor.of(data, INDEX)

    def _push_layer(self, layer: Layer) -> Sealed:
        if layer.title in self._sealed:
            return self._sealed[layer.title]
        sealed = seals.known(layer)
        if sealed is None and self._is_new:
            sealed = seals.seal(layer, lambda: self._stream(layer))
        if sealed is None:
            sealed = seals.seal(layer, lambda: layer.seal(self._shown(layer.title, layer.size, "read")))
            assert sealed is not None
        if layer.title not in self._streamed:
            chosen = sealed
            self._push(layer.title, sealed.descriptor, lambda offset: layer.chunks(chosen, offset))
        self._sealed[layer.title] = sealed
        return sealed

    def _stream(self, layer: Layer) -> Sealed | None:
        """Send a layer while its digests are computed; return None if the connection broke.

        This is for a repository without tags: in others the layer may be there, which only its digest can tell.
        """
        reading = Reading(layer)
        show = self._shown(layer.title, layer.size, "push")
        if not self._registry.stream(layer.size, iter(reading), lambda: reading.sealed.descriptor, show):
            return None
        self._streamed.add(layer.title)
        self._end(layer.title, reading.sealed.descriptor, "pushed")
        return reading.sealed

    @cached_property
    def _is_new(self) -> bool:
        """Whether the repository had no tag when this push began."""
        return self._registry.is_empty()

    def _shown(self, name: str, size: int, verb: str) -> Report:
        return lambda done: self._progress(Transfer(name, size, done, verb))

    def _push_file(self, bundle: BundleReader, file: PackedFile) -> Descriptor:
        descriptor = artifact.file_layer(file)
        self._push(file.name, descriptor, lambda offset: read_file(bundle.path, file, offset))
        return descriptor

    def _push_bytes(self, name: str, data: bytes) -> None:
        descriptor = Descriptor.of(data, "application/octet-stream")
        self._push(name, descriptor, lambda offset: iter([data[offset:]]))

    def _push(self, name: str, descriptor: Descriptor, chunks: Chunks) -> None:
        if self._registry.has_blob(descriptor.digest):
            self._end(name, descriptor, "skipped")
            return
        self._registry.upload(descriptor, chunks, self._shown(name, descriptor.size, "push"))
        self._end(name, descriptor, "pushed")

    def _copy(self, base: Base, layer: Descriptor) -> None:
        """Take a layer of a base image over: mounted within a registry, else streamed from the one to the other."""
        name = f"{base.name} {layer.digest[7:19]}"
        source, target = base.registry, self._registry
        is_near = source.address.registry == target.address.registry
        if is_near and not target.has_blob(layer.digest) and target.mount(layer.digest, source.address.repository):
            self._end(name, layer, "mounted")
            return

        def chunks(offset: int) -> Iterator[bytes]:
            return source.read(layer, offset=offset)

        self._push(name, layer, chunks)

    def _end(self, name: str, descriptor: Descriptor, outcome: Outcome) -> None:
        self.totals.add(outcome, descriptor.size)
        self._progress(Transfer(name, descriptor.size, descriptor.size, outcome=outcome))


def tags(tag: str) -> Sequence[str]:
    """Return the tags of the image and of the artifact that belong to a tag."""
    return (f"{tag}-models", f"{tag}-bundle")
