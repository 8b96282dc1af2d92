"""What is attached to a manifest: signatures, bills of materials, statements of provenance (distribution-spec 1.1, "Referrers").

A registry with the referrers API lists attachments by itself. For others, docker-registry 2.8 among them, the specification has a
tag `sha256-<digest>` with an index of them, which the client keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bundler.delivery.oci.descriptors import (
    EMPTY,
    INDEX,
    INDEXES,
    LARGEST_MANIFEST,
    MANIFEST,
    Descriptor,
    descriptors,
    malformed,
    parse,
    to_bytes,
)  # fmt: skip
from bundler.delivery.oci.registry import Document, Registry
from bundler.errors import DeliveryError
from bundler.values.addresses import OciAddress

BUNDLE_TYPE = "application/vnd.tfbundle.bundle.v1"
"""The artifact type of a bundle."""

_NOTHING = b"{}"
_ATTEMPTS = 5
_SEARCHED = 16
"""Entries of an index that are looked into for a bundle; a push writes two."""


def subject_of(registry: Registry, address: OciAddress) -> Document:
    """Return the manifest that attachments of an address hang on: the bundle's artifact, also if the address names an index.

    Args:
        registry: the repository.
        address: a tag or digest of it.

    Raises:
        DeliveryError: the repository does not have it.
    """
    document = registry.document(address.reference)
    if document.descriptor.media_type not in INDEXES:
        return document
    entries = descriptors(document.content, "manifests", where=document.where)
    artifact = next((entry for entry in entries if entry.artifact_type == BUNDLE_TYPE), None)
    if artifact is not None:
        return registry.document(artifact.digest)
    # Programs that copy an index may leave out what they do not know; skopeo 1.9 leaves out the type of the artifact.
    for entry in entries[:_SEARCHED]:
        if entry.platform.get("os") in (None, "unknown"):
            found = registry.document(entry.digest)
            if found.descriptor.artifact_type == BUNDLE_TYPE:
                return found
    return document


def attach(
    registry: Registry,
    subject: OciAddress,
    artifact_type: str,
    media_type: str,
    data: bytes,
    annotations: Mapping[str, str] | None = None,
) -> str:
    """Attach a document to a manifest; the same document with the same annotations is attached only once.

    Args:
        registry: the repository.
        subject: the bundle, by tag or digest.
        artifact_type: type of the attachment, by which it is found.
        media_type: type of the document.
        data: the document.
        annotations: facts about the attachment, which `referrers` lists.

    Returns:
        The digest of the attachment's manifest.

    Raises:
        DeliveryError: the registry cannot be reached, refuses, or does not have the subject.
    """
    on = subject_of(registry, subject).descriptor
    registry.put_blob(_NOTHING)
    registry.put_blob(data)
    manifest = to_bytes(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": artifact_type,
            "config": Descriptor.of(_NOTHING, EMPTY).to_json(),
            "layers": [Descriptor.of(data, media_type).to_json()],
            "subject": Descriptor(on.media_type, on.digest, on.size).to_json(),
            **({"annotations": dict(annotations)} if annotations else {}),
        }
    )
    entry = Descriptor.of(manifest, MANIFEST, artifact_type=artifact_type, annotations=dict(annotations or {}))
    if not registry.put_manifest(manifest, MANIFEST):
        _list(registry, on.digest, entry)
    return entry.digest


def referrers(registry: Registry, subject: OciAddress, artifact_type: str = "") -> list[Descriptor]:
    """Return the descriptors of what is attached to a manifest, in the registry's order.

    Args:
        registry: the repository.
        subject: the bundle, by tag or digest.
        artifact_type: only attachments of this type; empty for all.

    Raises:
        DeliveryError: the registry cannot be reached, refuses, or does not have the subject.
    """
    digest = subject_of(registry, subject).descriptor.digest
    index = registry.referrers_index(digest)
    where = f"referrers of {registry.address}@{digest}"
    listed = _entries(parse(index, where=where), where) if index is not None else []
    listed += _from_tag(registry, digest)  # attachments from before the registry had the API
    unique = {entry.digest: entry for entry in reversed(listed)}
    return [entry for entry in reversed(list(unique.values())) if artifact_type in ("", entry.artifact_type)]


def fetch(registry: Registry, attachment: Descriptor | str, limit: int = LARGEST_MANIFEST) -> bytes:
    """Return the document of an attachment, whose digests are compared.

    Args:
        registry: the repository.
        attachment: its descriptor, as `referrers` lists it, or the digest of its manifest.
        limit: most bytes that are read.

    Raises:
        DeliveryError: the registry does not have it, or sends other content, or it is not one document.
    """
    document = registry.document(attachment if isinstance(attachment, str) else attachment.digest)
    layers = descriptors(document.content, "layers", where=document.where)
    if len(layers) != 1:
        raise malformed(f"an attachment has one layer, this has {len(layers)}", document.where)
    return registry.read_bytes(layers[0], limit)


def fallback_tag(digest: str) -> str:
    """Return the tag of the index that lists what is attached to a digest."""
    return digest.replace(":", "-")


def _from_tag(registry: Registry, digest: str) -> list[Descriptor]:
    tag = fallback_tag(digest)
    if not registry.has_manifest(tag):
        return []
    document = registry.document(tag)
    if document.descriptor.media_type != INDEX:
        raise malformed("the tag that lists attachments is not an index", document.where)
    return list(_entries(document.content, document.where))


def _entries(index: dict[str, Any], where: str) -> list[Descriptor]:
    return descriptors(index, "manifests", where=where)


def _list(registry: Registry, digest: str, entry: Descriptor) -> None:
    """Add an attachment to the index, again if somebody else wrote the index at the same time."""
    for _ in range(_ATTEMPTS):
        known = _from_tag(registry, digest)
        if any(each.digest == entry.digest for each in known):
            return
        rows = [each.to_json() for each in (*known, entry)]
        index = to_bytes({"schemaVersion": 2, "mediaType": INDEX, "manifests": rows})
        registry.put_manifest(index, INDEX, tag=fallback_tag(digest))
    if not any(each.digest == entry.digest for each in _from_tag(registry, digest)):
        raise DeliveryError(
            "Others keep writing the list of attachments, so this one is not in it.",
            where=f"{registry.address}:{fallback_tag(digest)}",
            fix="repeat the command",
            code="TFB9007",
        )
