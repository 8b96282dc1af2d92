"""Signatures of what is in a registry, in the form of cosign's SIGNATURE_SPEC.md, which admission controllers check.

A signature of a bundle speaks of files. A cluster knows an image by its digest alone, so Kyverno and sigstore's policy-controller
look for a signature of the digest: at the tag `sha256-<digest>.sig` of the repository, a manifest with one layer per signature,
whose content is a "simple signing" document and whose annotation holds an ECDSA signature (P-256, SHA-256) of that content.

This form is used, and not the sigstore bundle that newer releases of cosign write, because the controllers' support of bundles
that were signed with a key is incomplete (kyverno/kyverno#16267, sigstore/policy-controller#1958). The library containers/image
(skopeo, podman, CRI-O) checks the same form, unless its distributor has left sigstore out, as Debian 12 has.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.delivery.supply_chain import keys
from bundler.errors import UsageError, VerifyError

if TYPE_CHECKING:
    from bundler.delivery.oci.descriptors import Descriptor
    from bundler.delivery.oci.registry import Document, Registry
    from bundler.delivery.supply_chain.keys import SigningKey

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_TYPE = "cosign container image signature"
_CONFIG = "application/vnd.oci.image.config.v1+json"


def signature_tag(digest: str) -> str:
    """Return the tag of the signatures of a digest."""
    return f"{digest.replace(':', '-')}.sig"


def payload(repository: str, digest: str) -> bytes:
    """Return the document that is signed: the repository, and the digest of the manifest."""
    from bundler.delivery.oci.descriptors import to_bytes

    identity = {"docker-reference": repository}
    return to_bytes(
        {"critical": {"identity": identity, "image": {"docker-manifest-digest": digest}, "type": _TYPE}, "optional": None}
    )


def sign(registry: Registry, reference: str, key: SigningKey) -> list[str]:
    """Sign a manifest of a repository and, if it is an index, every manifest that it names.

    Args:
        registry: the repository.
        reference: a tag or digest.
        key: the private key.

    Returns:
        The digests that were signed.

    Raises:
        UsageError: the key is not on P-256.
        DeliveryError: the registry cannot be reached, or refuses.
    """
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    secret = serialization.load_pem_private_key(key.pem, None)
    if not isinstance(secret, ec.EllipticCurvePrivateKey) or secret.curve.name != "secp256r1":
        raise UsageError(
            "What is in a registry is signed with a key on P-256, the one curve that every admission controller checks.",
            fix="make one with `openssl ecparam -name prime256v1 -genkey -noout -out key.pem`",
            code="TFB9207",
        )
    digests = _digests(registry.document(reference))
    for digest in digests:
        content = payload(_repository(registry), digest)
        _add(registry, digest, content, secret.sign(content, ec.ECDSA(hashes.SHA256())))
    return digests


def _repository(registry: Registry) -> str:
    return f"{registry.address.registry}/{registry.address.repository}"


def _digests(document: Document) -> list[str]:
    from bundler.delivery.oci.descriptors import INDEXES, descriptors

    own = [document.descriptor.digest]
    if document.descriptor.media_type not in INDEXES:
        return own
    return own + [entry.digest for entry in descriptors(document.content, "manifests", where=document.where)]


def _add(registry: Registry, digest: str, content: bytes, made: bytes) -> None:
    """Add a signature to those that a digest has."""
    from bundler.delivery.oci.descriptors import MANIFEST, Descriptor, to_bytes

    layer = Descriptor.of(content, SIMPLE_SIGNING, annotations={_SIGNATURE: base64.b64encode(made).decode()})
    layers = [*_layers(registry, digest), layer]
    config = to_bytes(
        {
            "architecture": "", "os": "", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [each.digest for each in layers]},
        }
    )  # fmt: skip
    registry.put_blob(content)
    registry.put_blob(config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": Descriptor.of(config, _CONFIG).to_json(),
        "layers": [each.to_json() for each in layers],
    }
    registry.put_manifest(to_bytes(manifest), MANIFEST, tag=signature_tag(digest))


def _layers(registry: Registry, digest: str) -> list[Descriptor]:
    from bundler.delivery.oci.descriptors import descriptors

    tag = signature_tag(digest)
    if not registry.has_manifest(tag):
        return []
    document = registry.document(tag)
    return descriptors(document.content, "layers", where=document.where)


def check(registry: Registry, reference: str, key: Path) -> list[str]:
    """Check that a manifest, and what it names if it is an index, is signed by a key.

    Args:
        registry: the repository.
        reference: a tag or digest.
        key: path of the public key.

    Returns:
        The digests that are signed.

    Raises:
        VerifyError: a digest has no signature by the key.
        UsageError: the key cannot be read.
        DeliveryError: the registry cannot be reached, or refuses.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    public = keys.public_key(key)

    def is_genuine(content: bytes, made: bytes) -> bool:
        try:
            public.verify(made, content, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    digests = _digests(registry.document(reference))
    for digest in digests:
        expected = payload(_repository(registry), digest)
        if not any(content == expected and is_genuine(content, made) for content, made in _signatures(registry, digest)):
            raise VerifyError(
                f"{digest} has no signature by {key} in the registry.",
                where=f"{registry.address}:{signature_tag(digest)}",
                fix="sign it with `tfbundle sign oci://HOST/REPOSITORY:TAG --key KEY.pem`",
                code="TFB9201",
            )
    return digests


def _signatures(registry: Registry, digest: str) -> Iterator[tuple[bytes, bytes]]:
    for layer in _layers(registry, digest):
        if layer.media_type != SIMPLE_SIGNING:
            continue
        try:
            made = base64.b64decode(layer.annotations.get(_SIGNATURE, ""), validate=True)
        except binascii.Error:
            continue
        yield registry.read_bytes(layer), made
