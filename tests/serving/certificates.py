"""Certificate authorities, certificates and keys that are made for a test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tests import requirements

_NOW = datetime.now(timezone.utc)


@dataclass(frozen=True)
class Pair:
    """Files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority that writes what it issues into a folder.

    Args:
        folder: the folder.
        name: the authority's name, of its file `NAME.pem`, too.
    """

    def __init__(self, folder: Path, name: str = "ca") -> None:
        requirements.require_package("cryptography", "pip install 'tfbundle[sign]'")
        self._folder = folder
        self._key = _new_key()
        self._certificate = _signed(name, self._key, None, self._key, is_authority=True)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(_pem(self._certificate))

    @property
    def pem(self) -> bytes:
        """The authority's own certificate."""
        return self.file.read_bytes()

    def issue(self, name: str, *names: str, days: float = 1, password: bytes | None = None) -> Pair:
        """Issue a certificate.

        Args:
            name: of its subject and its files.
            *names: host names and IP addresses that it is for; by default localhost, 127.0.0.1 and ::1.
            days: how long it is valid from now; below 0 for one that has expired.
            password: encrypts the key.
        """
        from cryptography.hazmat.primitives import serialization

        key = _new_key()
        certificate = _signed(name, key, self._certificate, self._key, names or ("localhost", "127.0.0.1", "::1"), days)
        encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}-key.pem")
        pair.certificate.write_bytes(_pem(certificate))
        pair.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        )
        return pair


def ssl_config(server: Pair, clients: Authority | None, file: Path) -> Path:
    """Write an ssl_config_file of TensorFlow Serving, with PEM texts, and return its path."""
    fields = {"server_key": server.key.read_text(), "server_cert": server.certificate.read_text()}
    if clients:
        fields["custom_ca"] = clients.pem.decode()
    lines = [f'{name}: "{text.replace(chr(10), chr(92) + "n")}"' for name, text in fields.items()]
    lines.append(f"client_verify: {'true' if clients else 'false'}")
    file.write_text("\n".join(lines))
    return file


def _new_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _signed(
    name: str,
    key: Any,
    issuer: Any,
    issuer_key: Any,
    names: tuple[str, ...] = (),
    days: float = 1,
    *,
    is_authority: bool = False,
) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    alternatives = [x509.DNSName(each) if each[-1].isalpha() else x509.IPAddress(ip_address(each)) for each in names]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - timedelta(days=3))
        .not_valid_after(_NOW + timedelta(days=days))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if is_authority:
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = builder.add_extension(usage, critical=True)
    else:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def _pem(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    pem: bytes = certificate.public_bytes(serialization.Encoding.PEM)
    return pem
