"""Keys and certificates that cannot be used are refused by name, before anything is signed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from bundler.delivery.supply_chain import keys
from bundler.delivery.supply_chain.keys import SigningKey
from bundler.errors import UsageError
from tests.bundler.delivery.supply_chain.signers import PEM, Authority, key_pair


def refused(path: Path, password: str | None = None, certificate: Path | None = None) -> str:
    """Return the message with which a private key is refused."""
    with pytest.raises(UsageError) as caught:
        SigningKey.load(path, password, certificate)
    assert caught.value.code == "TFB9207"
    return caught.value.what


def test_key_is_handed_over_without_its_password_and_without_a_file(tmp_path: Path) -> None:
    pair = key_pair(tmp_path, password="secret")
    with SigningKey.load(pair.private, "secret").as_path() as path:
        assert not str(path).startswith(str(tmp_path))
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.private_numbers() == pair.secret.private_numbers()


def test_password_is_asked_for_and_checked(tmp_path: Path) -> None:
    pair = key_pair(tmp_path, password="secret")
    assert keys.is_encrypted(pair.private)
    assert not keys.is_encrypted(key_pair(tmp_path, "open").private)
    assert "has a password" in refused(pair.private)
    assert "cannot be read with this password" in refused(pair.private, "wrong")
    assert "cannot be read with this password" in refused(pair.private, "")


def test_password_for_a_key_without_one_is_ignored(tmp_path: Path) -> None:
    SigningKey.load(key_pair(tmp_path).private, "unused")


@pytest.mark.parametrize("kind", ["rsa", "ed25519", "secp256k1"])
def test_other_kinds_of_keys_are_refused(tmp_path: Path, kind: str) -> None:
    makers = {
        "rsa": lambda: rsa.generate_private_key(65537, 2048),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
        "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    }
    secret = makers[kind]()
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    private.write_bytes(secret.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    public.write_bytes(secret.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    assert "is not on one of the curves" in refused(private)
    with pytest.raises(UsageError, match="is not on one of the curves"):
        keys.public_key(public)


def test_file_that_is_no_key_is_refused(tmp_path: Path) -> None:
    pair = key_pair(tmp_path)
    assert "is not a private key in PEM format" in refused(pair.public)
    assert "cannot be read" in refused(tmp_path / "missing.pem")
    assert "cannot be read" in refused(tmp_path)
    with pytest.raises(UsageError, match="is not a public key"):
        keys.public_key(pair.private)
    with pytest.raises(UsageError, match="has no certificate"):
        keys.certificates(pair.public)


def test_certificate_of_another_key_is_refused(tmp_path: Path) -> None:
    one, other = key_pair(tmp_path, "one"), key_pair(tmp_path, "other")
    certificate = Authority(tmp_path, "ca").issue(other, "release")
    assert "is not of the private key" in refused(one.private, certificate=certificate)
