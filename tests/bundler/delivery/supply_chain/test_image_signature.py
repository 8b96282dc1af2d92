"""Signatures of digests have the form of cosign's specification, and the documented policies fit them.

tests/bundler/operations/test_attestations.py signs and checks in a registry.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from ruamel.yaml import YAML

from bundler.delivery.supply_chain import image_signature
from tests.documents import ROOT, blocks_of

DIGEST = f"sha256:{'a' * 64}"
_PAGE = "docs/how-to/supply-chain.md"


def policies() -> dict[str, dict[str, Any]]:
    """Return the policies of the page, by kind."""
    texts = [block.text for block in blocks_of(_PAGE) if block.text.startswith("apiVersion:")]
    documents = [YAML(typ="safe").load(text) for text in texts]
    return {document["kind"]: document for document in documents}


def assert_is_p256(pem: str) -> None:
    """Check that a text is a public key that `tfbundle sign oci://…` could have."""
    key = serialization.load_pem_public_key(pem.encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


def test_payload_is_a_simple_signing_document() -> None:
    claims = json.loads(image_signature.payload("registry.example.com/models/digits", DIGEST))
    assert claims == {
        "critical": {
            "identity": {"docker-reference": "registry.example.com/models/digits"},
            "image": {"docker-manifest-digest": DIGEST},
            "type": "cosign container image signature",
        },
        "optional": None,
    }


def test_tag_of_signatures_is_made_from_the_digest() -> None:
    assert image_signature.signature_tag(DIGEST) == f"sha256-{'a' * 64}.sig"


def test_kyverno_policy_asks_for_what_is_signed() -> None:
    """The fields are those of kyverno.io_clusterpolicies.yaml (ImageVerification, StaticKeyAttestor)."""
    policy = policies()["ClusterPolicy"]
    assert policy["apiVersion"] == "kyverno.io/v1"
    (rule,) = policy["spec"]["rules"]
    assert rule["match"]["any"][0]["resources"]["kinds"] == ["Pod"]
    (verification,) = rule["verifyImages"]
    assert set(verification) == {"imageReferences", "failureAction", "required", "verifyDigest", "attestors"}
    assert verification["failureAction"] == "Enforce"
    assert "type" not in verification  # the default is Cosign; SigstoreBundle takes no keys
    (attestor,) = verification["attestors"]
    (entry,) = attestor["entries"]
    keys = entry["keys"]
    assert set(keys) == {"publicKeys", "signatureAlgorithm", "rekor", "ctlog"}
    assert (keys["signatureAlgorithm"], keys["rekor"], keys["ctlog"]) == ("sha256", {"ignoreTlog": True}, {"ignoreSCT": True})
    assert_is_p256(keys["publicKeys"])


def test_policy_controller_policy_asks_for_what_is_signed() -> None:
    """The fields are those of policy-controller's config/300-clusterimagepolicy.yaml, v1beta1."""
    policy = policies()["ClusterImagePolicy"]
    assert policy["apiVersion"] == "policy.sigstore.dev/v1beta1"
    assert set(policy["spec"]) == {"images", "authorities"}
    (authority,) = policy["spec"]["authorities"]
    assert set(authority) == {"name", "key"}  # without ctlog: no entry of a transparency log is needed
    assert authority["key"]["hashAlgorithm"] == "sha256"
    assert_is_p256(authority["key"]["data"])


@pytest.mark.parametrize("kind", ["ClusterPolicy", "ClusterImagePolicy"])
def test_policies_name_the_same_repository_as_the_commands(kind: str) -> None:
    text = (Path(ROOT) / _PAGE).read_text("utf-8")
    assert "tfbundle sign oci://registry.example.com/models/digits:1" in text
    assert "registry.example.com/models/" in json.dumps(policies()[kind])
