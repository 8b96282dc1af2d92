"""A signature covers every file of a bundle, and each way in which it does not fit has a message of its own."""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree, rmtree

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import verifying

from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import FileEntry, Manifest
from bundler.delivery.supply_chain import signature
from bundler.delivery.supply_chain.keys import SigningKey
from bundler.delivery.supply_chain.signature import SignatureFile, Trust
from bundler.errors import TfbundleError, UsageError, VerifyError
from bundler.operations.sign import check_signature, sign
from tests.bundler.delivery.supply_chain.signers import Authority, KeyPair, key_pair, rewrite_versions

MODEL = "models/mlp/1/variables/variables.data-00000-of-00001"


def refused(root: Path, trust: Trust, code: str) -> str:
    """Return the message with which a signature is refused."""
    with pytest.raises(TfbundleError) as caught:
        check_signature(root, trust)
    assert caught.value.code == code, caught.value.what
    return caught.value.what


def flip_byte(path: Path) -> None:
    """Change the last byte of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_signature_covers_bundle_json_every_listed_file_and_the_papers(signed: Path, signer: KeyPair) -> None:
    manifest = Manifest.read(signed / "bundle.json")
    papers = {"attestations/bom.cdx.json", "attestations/provenance/mlp/1.intoto.json"}
    digests = check_signature(signed, Trust(signer.public))
    assert set(digests) == {*manifest.files, "bundle.json", *papers}
    assert all(digests[path] == entry.sha256 for path, entry in manifest.files.items())


def test_model_signing_itself_verifies_the_folder(signed: Path, signer: KeyPair) -> None:
    config = verifying.Config().use_elliptic_key_verifier(public_key=signer.public)
    config.verify(signed, signed / "attestations/signature.sigstore.json")
    flip_byte(signed / MODEL)
    with pytest.raises(ValueError, match="Hash mismatch"):
        config.verify(signed, signed / "attestations/signature.sigstore.json")


@pytest.mark.parametrize("path", [MODEL, "golden/mlp/1.npz", "k8s/README.md", "report.html"])
def test_one_changed_byte_is_named(signed: Path, signer: KeyPair, path: str) -> None:
    flip_byte(signed / path)
    assert refused(signed, Trust(signer.public), "TFB9205") == f"The bundle is not what was signed: 1 file changed ({path})."


@pytest.mark.parametrize("path", ["models/mlp/1/extra.pb", "k8s/base/backdoor.yaml", "attestations/notes.txt"])
def test_added_file_is_named(signed: Path, signer: KeyPair, path: str) -> None:
    (signed / path).write_text("new")
    assert refused(signed, Trust(signer.public), "TFB9205") == f"The bundle is not what was signed: 1 file added ({path})."


def test_removed_file_is_named(signed: Path, signer: KeyPair) -> None:
    (signed / MODEL).unlink()
    assert refused(signed, Trust(signer.public), "TFB9205") == f"The bundle is not what was signed: 1 file missing ({MODEL})."


def test_file_beside_the_parts_of_a_bundle_is_the_users_own(signed: Path, signer: KeyPair) -> None:
    (signed / "NOTES.md").write_text("mine")
    check_signature(signed, Trust(signer.public))


def test_link_in_the_place_of_a_file_is_refused(signed: Path, signer: KeyPair, tmp_path: Path) -> None:
    (signed / MODEL).rename(tmp_path / "weights")
    (signed / MODEL).symlink_to(tmp_path / "weights")
    assert f"{MODEL} is a symbolic link" in refused(signed, Trust(signer.public), "TFB9209")


def rewritten(root: Path) -> None:
    """Change a model file, and bundle.json with it, as someone would who cannot sign."""
    flip_byte(root / MODEL)
    manifest = Manifest.read(root / "bundle.json")
    changed = replace(manifest, files={**manifest.files, MODEL: FileEntry.of(root / MODEL)})
    (root / "bundle.json").write_bytes(changed.to_bytes())


def test_model_and_bundle_json_changed_together_are_named(signed: Path, signer: KeyPair) -> None:
    rewritten(signed)
    message = refused(signed, Trust(signer.public), "TFB9205")
    assert message == f"The bundle is not what was signed: 2 files changed (bundle.json, {MODEL})."


def test_signature_of_another_bundle_is_refused(signed: Path, signer: KeyPair, tmp_path: Path) -> None:
    other = copytree(signed, tmp_path / "other")
    rewrite_versions(other)
    sign(other, SigningKey.load(signer.private))
    (signed / "attestations/signature.sigstore.json").write_bytes((other / "attestations/signature.sigstore.json").read_bytes())
    assert "of another bundle" in refused(signed, Trust(signer.public), "TFB9206")


def test_change_of_bundle_json_alone_asks_to_sign_again(signed: Path, signer: KeyPair) -> None:
    manifest = Manifest.read(signed / "bundle.json")
    spec = {**manifest.spec, "serving": {**manifest.spec["serving"], "labels": {"mlp": {"stable": 1}}}}
    (signed / "bundle.json").write_bytes(replace(manifest, spec=spec).to_bytes())
    assert "signed before the last build" in refused(signed, Trust(signer.public), "TFB9208")
    sign(signed, SigningKey.load(signer.private))
    check_signature(signed, Trust(signer.public))


def test_signature_by_another_key_names_both(signed: Path, tmp_path: Path) -> None:
    other = key_pair(tmp_path, "other")
    message = refused(signed, Trust(other.public), "TFB9203")
    assert re.search(r"another key: by [0-9a-f]{16}…, and .*other.pub is [0-9a-f]{16}…", message)


def test_missing_signature_is_named(signed: Path, signer: KeyPair) -> None:
    (signed / "attestations/signature.sigstore.json").unlink()
    assert refused(signed, Trust(signer.public), "TFB9201") == "The bundle has no signature."


def test_altered_payload_is_refused(signed: Path, signer: KeyPair) -> None:
    path = signed / "attestations/signature.sigstore.json"
    flip_byte(signed / MODEL)
    document = json.loads(path.read_text())
    statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    row = next(row for row in statement["predicate"]["resources"] if row["name"] == MODEL)
    row["digest"] = FileEntry.of(signed / MODEL).sha256
    document["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    path.write_text(json.dumps(document))
    assert "its content was altered after it was made" in refused(signed, Trust(signer.public), "TFB9202")


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"mediaType": 1}', b"null", b'{"mediaType":"x","dsseEnvelope":{}}'],
)
def test_file_that_is_no_signature_is_refused(signed: Path, signer: KeyPair, content: bytes) -> None:
    (signed / "attestations/signature.sigstore.json").write_bytes(content)
    assert "The signature is damaged" in refused(signed, Trust(signer.public), "TFB9202")


def mutations() -> list[Callable[[random.Random, bytes], bytes]]:
    """Return ways to damage a signature file."""

    def cut(rng: random.Random, content: bytes) -> bytes:
        return content[: rng.randrange(len(content))]

    def swap(rng: random.Random, content: bytes) -> bytes:
        at = rng.randrange(len(content))
        return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]

    def without_a_key(rng: random.Random, content: bytes) -> bytes:
        document = json.loads(content)
        part = rng.choice([document, document["verificationMaterial"], document["dsseEnvelope"]])
        del part[rng.choice(list(part))]
        return json.dumps(document).encode()

    def other_type(rng: random.Random, content: bytes) -> bytes:
        document = json.loads(content)
        part = rng.choice([document, document["verificationMaterial"], document["dsseEnvelope"]])
        part[rng.choice(list(part))] = rng.choice([None, 1, [], {}, "x", [{}]])
        return json.dumps(document).encode()

    return [cut, swap, without_a_key, other_type]


@pytest.mark.parametrize("mutate", mutations(), ids=lambda function: function.__name__)
def test_damaged_signature_is_refused_without_a_traceback(signed_once: Path, signer: KeyPair, tmp_path: Path, mutate) -> None:
    layout = BundleLayout(signed_once)
    content = layout.signature.read_bytes()
    manifest = Manifest.read(layout.manifest)
    rng = random.Random(0)
    target = copytree(signed_once, tmp_path / "small")
    for _ in range(8):
        damaged = mutate(rng, content)
        if damaged == content:
            continue
        BundleLayout(target).signature.write_bytes(damaged)
        try:
            signature.check(BundleLayout(target), manifest, Trust(signer.public))
        except VerifyError as exc:
            assert exc.code in ("TFB9202", "TFB9203"), exc.what
        else:  # what was damaged is not signed: the list of entries in transparency logs, and white space
            assert json.loads(damaged)["dsseEnvelope"] == json.loads(content)["dsseEnvelope"]


def with_certificate(root: Path, tmp_path: Path, authority: Authority, **limits: object) -> None:
    """Sign a bundle with a key for which an authority vouches."""
    key = key_pair(tmp_path, "leaf")
    certificate = authority.issue(key, "release", **limits)  # type: ignore[arg-type]
    sign(root, SigningKey.load(key.private, None, certificate))


def test_certificate_of_a_trusted_authority_is_accepted(signed: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    with_certificate(signed, tmp_path, authority)
    check_signature(signed, Trust(chain=(authority.root,)))
    flip_byte(signed / MODEL)
    assert f"1 file changed ({MODEL})" in refused(signed, Trust(chain=(authority.root,)), "TFB9205")


def test_certificate_of_another_authority_is_refused(signed: Path, tmp_path: Path) -> None:
    with_certificate(signed, tmp_path, Authority(tmp_path, "ca"))
    message = refused(signed, Trust(chain=(Authority(tmp_path, "other").root,)), "TFB9204")
    assert "The signer's certificate is not trusted" in message


def test_expired_certificate_is_refused(signed: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    with_certificate(signed, tmp_path, authority, days=(-10, -2))
    assert re.search(r"'CN=release' of the signature expired on ", refused(signed, Trust(chain=(authority.root,)), "TFB9204"))


def test_certificate_that_may_not_sign_is_refused(signed: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    with_certificate(signed, tmp_path, authority, signs=False)
    assert "cannot be used for signing" in refused(signed, Trust(chain=(authority.root,)), "TFB9204")


def test_key_is_not_accepted_in_the_place_of_a_certificate(signed: Path, signer: KeyPair, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    assert "with a key, not with a certificate" in refused(signed, Trust(chain=(authority.root,)), "TFB9203")
    with_certificate(signed, tmp_path, authority)
    assert "with a certificate, not with a key" in refused(signed, Trust(signer.public), "TFB9203")


def test_larger_curves_sign_as_well(signed: Path, tmp_path: Path) -> None:
    key = key_pair(tmp_path, curve=ec.SECP384R1())
    sign(signed, SigningKey.load(key.private))
    check_signature(signed, Trust(key.public))


def test_trust_is_one_kind_only() -> None:
    for trust in ({}, {"key": Path("a"), "chain": (Path("b"),)}, {"identity": "me"}, {"identity_provider": "https://i"}):
        with pytest.raises(UsageError, match="Whose signature"):
            Trust(**trust)


def test_claims_of_a_signature_are_read(signed: Path) -> None:
    claims = SignatureFile.read(signed / "attestations/signature.sigstore.json")
    assert claims.kind == "key"
    assert claims.digests["bundle.json"] == FileEntry.of(signed / "bundle.json").sha256
    rmtree(signed)
