"""tfbundle sign, and verify --signature, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree

import pytest

from bundler.delivery.supply_chain.keys import PASSWORD_VARIABLE
from tests.bundler.cli.commands import run
from tests.bundler.delivery.supply_chain.signers import Authority, KeyPair, key_pair


@pytest.fixture
def bundle(tmp_path: Path, small_bundle: Path, signer: KeyPair) -> Path:
    """Return a copy of a bundle that is not signed; the packages for signatures are there."""
    return copytree(small_bundle, tmp_path / "small")


def test_sign_then_verify(bundle: Path, signer: KeyPair) -> None:
    shown = run("sign", bundle, "--key", signer.private).output
    assert "is signed" in shown
    assert "--signature --key key.pub" in shown
    result = run("verify", bundle, "--no-parity", "--signature", "--key", signer.public)
    assert "The signature is genuine" in result.output
    found = json.loads(run("verify", bundle, "--no-parity", "--key", signer.public, "--json").stdout)
    assert found["passed"]
    assert found["signed_files"] > 100


def test_damaged_file_is_told_by_the_signature_first(signed: Path, signer: KeyPair) -> None:
    (signed / "report.html").write_text("x")
    assert "TFB9205" in run("verify", signed, "--no-parity", "--signature", "--key", signer.public, code=1).stderr
    failed = json.loads(run("verify", signed, "--key", signer.public, "--json", code=1).stdout)
    assert failed["code"] == "TFB9205"


def test_password_comes_from_the_environment(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = key_pair(tmp_path, password="open sesame")
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    assert f"environment variable {PASSWORD_VARIABLE}" in run("sign", bundle, "--key", pair.private, code=2).stderr
    monkeypatch.setenv(PASSWORD_VARIABLE, "wrong")
    assert "TFB9207" in run("sign", bundle, "--key", pair.private, code=2).stderr
    monkeypatch.setenv(PASSWORD_VARIABLE, "open sesame")
    result = run("sign", bundle, "--key", pair.private, "--json")
    assert "open sesame" not in result.output
    run("verify", bundle, "--no-parity", "--key", pair.public)


def test_certificate_signs_and_its_authority_verifies(bundle: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    pair = key_pair(tmp_path, "leaf", password="secret")
    certificate = authority.issue(pair, "release")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PASSWORD_VARIABLE, "secret")
        run("sign", bundle, "--key", pair.private, "--certificate", certificate)
    run("verify", bundle, "--no-parity", "--certificate-chain", authority.root)


@pytest.mark.parametrize(
    "options", [(), ("--keyless", "--key", "k.pem"), ("--key", "k.pem", "--certificate-chain", "ca.pem")]
)
def test_unclear_signers_are_wrong_usage(bundle: Path, options: tuple[str, ...]) -> None:
    assert "What should the bundle be signed with?" in run("sign", bundle, *options, code=2).stderr


def test_signature_without_a_signer_to_trust_is_wrong_usage(signed: Path) -> None:
    assert "Whose signature should be accepted?" in run("verify", signed, "--signature", code=2).stderr


@pytest.mark.slow
def test_plain_verify_notes_a_signature_of_an_earlier_state(signed: Path, signer: KeyPair) -> None:
    run("promote", signed, "--label", "stable", "--version", 1)
    result = run("verify", signed, "--no-parity")
    assert "sign the bundle again" in result.stderr
    assert "TFB9208" in run("verify", signed, "--no-parity", "--key", signer.public, code=1).stderr
