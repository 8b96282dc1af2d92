"""Descriptors and manifests of the OCI image specification 1.1 (opencontainers/image-spec: descriptor.md, manifest.md)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bundler.errors import DeliveryError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
EMPTY = "application/vnd.oci.empty.v1+json"
"""The config of a manifest that needs none; its content is `{}`."""
INDEXES = (INDEX, DOCKER_INDEX)
ACCEPTED = (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX)

LARGEST_MANIFEST = 4 << 20
"""The largest manifest that every registry takes (distribution-spec, "Pushing Manifests"), so the most that is read."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LARGEST_SIZE = 2**63 - 1


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says about a blob or another manifest.

    Attributes:
        media_type: type of the content.
        digest: `sha256:` and 64 hexadecimal digits.
        size: number of bytes.
        annotations: the publisher's own facts about it.
        artifact_type: type of the artifact, if this describes the manifest of one.
        platform: `os` and `architecture`, if this describes an image in an index.
    """

    media_type: str
    digest: str
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""
    platform: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, data: bytes, media_type: str, **more: Any) -> Descriptor:
        """Return the descriptor of a content in memory."""
        return cls(media_type, digest_of(data), len(data), **more)

    @classmethod
    def from_json(cls, value: Any, *, where: str) -> Descriptor:
        """Return the descriptor in a manifest, which anybody may have written.

        Args:
            value: the parsed JSON.
            where: names the manifest in messages.

        Raises:
            DeliveryError: a key is missing or malformed.
        """
        row = value if isinstance(value, dict) else {}
        digest, size, media_type = row.get("digest"), row.get("size"), row.get("mediaType")
        is_sound = isinstance(digest, str) and _DIGEST.fullmatch(digest) and isinstance(media_type, str)
        if not is_sound or type(size) is not int or not 0 <= size <= _LARGEST_SIZE:
            raise malformed(f"an entry is not a descriptor with media type, size and sha256: {str(value)[:120]!r}", where)
        texts = {key: _texts(row.get(key), where) for key in ("annotations", "platform")}
        return cls(str(media_type), str(digest), size, artifact_type=str(row.get("artifactType") or ""), **texts)

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor as a manifest writes it."""
        return {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
            **({"annotations": dict(self.annotations)} if self.annotations else {}),
            **({"artifactType": self.artifact_type} if self.artifact_type else {}),
            **({"platform": dict(self.platform)} if self.platform else {}),
        }


def _texts(value: Any, where: str) -> dict[str, str]:
    """Return a mapping of texts; values that are not texts, such as `os.features` of a platform, are left out."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise malformed(f"annotations or platform are not a mapping: {str(value)[:120]!r}", where)
    return {key: text for key, text in value.items() if isinstance(text, str)}


def digest_of(data: bytes) -> str:
    """Return the digest of a content in memory."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """Return a document as JSON that has the same bytes wherever it is written."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def parse(data: bytes, *, where: str) -> dict[str, Any]:
    """Return a manifest, index or config.

    Args:
        data: the content, from anybody.
        where: names it in messages.

    Raises:
        DeliveryError: it is not a JSON object.
    """
    try:
        document = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as exc:
        raise malformed(f"it is not JSON ({exc})", where) from exc
    if not isinstance(document, dict):
        raise malformed("it is not a JSON object", where)
    return document


def descriptors(document: Mapping[str, Any], key: str, *, where: str) -> list[Descriptor]:
    """Return the list of descriptors under a key of a manifest: `layers` or `manifests`.

    Raises:
        DeliveryError: it is not a list of descriptors.
    """
    rows = document.get(key)
    if not isinstance(rows, list):
        raise malformed(f"{key!r} is not a list", where)
    return [Descriptor.from_json(row, where=where) for row in rows]


def malformed(how: str, where: str) -> DeliveryError:
    """Return the error for a document of the registry that does not follow the specification."""
    return DeliveryError(
        f"The registry sent a manifest that cannot be read: {how}.",
        where=where,
        fix="push the bundle again, or check the address",
        code="TFB9009",
    )
