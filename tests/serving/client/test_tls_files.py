"""Files of certificates and keys: what cannot be used is named when the client is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving import Client, ConfigError, ConnectionSettings, Tls
from serving.client.tls_files import read_tls_files
from serving.client.transport import Target
from tests.serving.certificates import Authority

TARGET = "grpcs://localhost:1"


def error_of(tls: Tls, target: str = TARGET) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        Client(target, connection=ConnectionSettings(tls=tls))
    return caught.value


@pytest.mark.parametrize("target", [TARGET, "https://localhost:1"])
def test_files_that_cannot_be_used_are_named(target: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    client, other = authority.issue("client"), authority.issue("other")
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    for tls, words in (
        (Tls(ca=tmp_path / "none.pem"), "cannot be read: No such file"),
        (Tls(ca=text), "cannot be read as certificates"),
        (Tls(certificate=tmp_path / "none.pem", key=client.key), "cannot be read: No such file"),
        (Tls(certificate=client.certificate, key=tmp_path), "cannot be read: Is a directory"),
        (Tls(certificate=text, key=client.key), "cannot be read as a certificate and its private key"),
        (Tls(certificate=client.certificate, key=other.key), f"{other.key} is not the private key of"),
    ):
        error = error_of(tls, target)
        assert words in error.what and error.code == "TFB7013"
    Client(target, connection=ConnectionSettings(tls=Tls(authority.file, client.certificate, client.key))).close()


def test_an_encrypted_key_is_recognized(tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("client", password=b"secret")
    error = error_of(Tls(certificate=pair.certificate, key=pair.key))
    assert error.code == "TFB7014" and "is encrypted" in error.what and "openssl pkey" in str(error.fix)


def test_a_certificate_that_has_expired_is_recognized_by_its_own_dates(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    for name, days, words in (("old", -1, "has expired"), ("valid", 1, "")):
        pair = authority.issue(name, days=days)
        files = read_tls_files(Tls(certificate=pair.certificate, key=pair.key), Target.parse(TARGET))
        assert files and files.overdue() == words
