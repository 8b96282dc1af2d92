"""Signing is all or nothing, and only for a bundle that is what its bundle.json says."""

from __future__ import annotations

import sys
from pathlib import Path
from shutil import copytree

import pytest

from bundler.bundle.manifest import Manifest
from bundler.bundle.staging import Staging
from bundler.delivery.supply_chain.keys import SigningKey
from bundler.delivery.supply_chain.signature import Identity, Trust
from bundler.errors import MissingExtraError, PublishError, TfbundleError
from bundler.operations.sign import check_signature, sign, stale_signature
from bundler.validation.bundle import Bundle
from tests.bundler.delivery.supply_chain.signers import KeyPair


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def unsigned(tmp_path: Path, small_bundle: Path) -> Path:
    """Return a copy of a bundle without a signature."""
    return copytree(small_bundle, tmp_path / "small")


def refused(root: Path, signer: KeyPair) -> TfbundleError:
    """Return the error of an attempt to sign, after which nothing has changed."""
    before = contents(root)
    with pytest.raises(TfbundleError) as caught:
        sign(root, SigningKey.load(signer.private))
    assert contents(root) == before
    return caught.value


def test_signing_adds_only_the_attestations(unsigned: Path, signer: KeyPair) -> None:
    before = contents(unsigned)
    signed = sign(unsigned, SigningKey.load(signer.private))
    after = contents(unsigned)
    assert {path: content for path, content in after.items() if not path.startswith("attestations/")} == before
    new = {"bom.cdx.json", "provenance/mlp/1.intoto.json", "signature.sigstore.json"}
    assert set(after) - set(before) == {f"attestations/{name}" for name in new}
    assert signed.files == len(Manifest.read(unsigned / "bundle.json").files) + 3


def test_verify_knows_the_attestations_and_notes_a_signature_that_is_out_of_date(signed: Path) -> None:
    assert Bundle.open(signed).verify(parity=False) == []
    assert stale_signature(signed) is None
    (signed / "attestations/other.txt").write_text("x")
    (note,) = Bundle.open(signed).verify(parity=False)
    assert (note.path, note.serious) == ("attestations/other.txt", False)
    (signed / "attestations/signature.sigstore.json").write_text("{}")
    assert "The signature is damaged" in str(stale_signature(signed))
    (signed / "attestations/signature.sigstore.json").unlink()
    assert stale_signature(signed) is None


def test_publication_leaves_the_attestations_alone(signed: Path) -> None:
    before = contents(signed / "attestations")
    with Staging(signed) as staging:
        manifest = staging.manifest
        assert manifest is not None
        labels = {**manifest.spec["serving"], "labels": {"mlp": {"stable": 1}}}
        changed = Manifest({**manifest.spec, "serving": labels}, manifest.models, manifest.files, manifest.tools)
        staging.publish(changed)
    assert contents(signed / "attestations") == before
    assert Bundle.open(signed).verify(parity=False) == []
    assert "sign the bundle again" in str(stale_signature(signed))


@pytest.mark.parametrize("path", ["report.html", "models/mlp/1/saved_model.pb"])
def test_bundle_with_a_changed_file_is_not_signed(unsigned: Path, signer: KeyPair, path: str) -> None:
    (unsigned / path).write_bytes(b"changed")
    error = refused(unsigned, signer)
    assert error.code == "TFB9209"
    assert error.what == f"The bundle is not what bundle.json says: {path} was changed. Nothing was signed."


def test_bundle_with_an_added_or_missing_file_is_not_signed(unsigned: Path, signer: KeyPair) -> None:
    (unsigned / "k8s/base/mine.yaml").write_text("x")
    assert "k8s/base/mine.yaml is not part of it" in refused(unsigned, signer).what
    (unsigned / "k8s/base/mine.yaml").unlink()
    (unsigned / "report.html").unlink()
    assert "report.html is missing" in refused(unsigned, signer).what


def test_failed_attempt_keeps_the_earlier_signature(signed: Path, signer: KeyPair) -> None:
    (signed / "report.html").write_bytes(b"changed")
    assert refused(signed, signer).code == "TFB9209"
    assert (signed / "attestations/signature.sigstore.json").exists()


def test_bundle_is_not_signed_while_a_build_writes_it(unsigned: Path, signer: KeyPair) -> None:
    with Staging(unsigned), pytest.raises(PublishError, match="Another build is writing"):
        sign(unsigned, SigningKey.load(signer.private))


def test_folder_that_is_not_a_bundle_is_left_alone(tmp_path: Path, signer: KeyPair) -> None:
    assert refused(tmp_path, signer).code == "TFB5101"


def test_missing_package_is_named(unsigned: Path, signer: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    key = SigningKey.load(signer.private)
    monkeypatch.setitem(sys.modules, "cyclonedx", None)
    with pytest.raises(MissingExtraError, match=r"tfbundle\[sign\]"):
        sign(unsigned, key)
    with pytest.raises(MissingExtraError, match=r"tfbundle\[sign\]"):
        check_signature(unsigned, Trust(signer.public))


def test_signing_without_a_key_needs_an_identity(unsigned: Path, signer: KeyPair, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "CIRCLECI", "SIGSTORE_ID_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sigstore.oidc.detect_credential", lambda *arguments: None)
    with pytest.raises(TfbundleError, match="There is no identity to sign with") as caught:
        sign(unsigned, Identity())
    assert caught.value.code == "TFB9211"
    assert not (unsigned / "attestations").exists()


@pytest.mark.slow
def test_identity_token_that_sigstore_does_not_take_is_refused(unsigned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*arguments: object, **settings: object) -> None:
        raise ConnectionError("Failed to resolve 'tuf-repo-cdn.sigstore.dev'\nmore")

    monkeypatch.setattr("sigstore.models.ClientTrustConfig.production", unreachable)
    with pytest.raises(TfbundleError, match="Sigstore did not sign: ConnectionError: Failed to resolve") as caught:
        sign(unsigned, Identity("token"))
    assert caught.value.code == "TFB9211"
    assert not (unsigned / "attestations").exists()


def test_verification_of_an_identity_says_that_sigstore_is_needed(signed: Path) -> None:
    trust = Trust(identity="me@example.com", identity_provider="https://accounts.example.com")
    with pytest.raises(TfbundleError, match="signed with a key, not with an identity"):
        check_signature(signed, trust)
