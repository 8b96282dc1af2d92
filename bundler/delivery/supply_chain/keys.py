"""Keys and certificates from PEM files, checked before use, so that a wrong file or password has a message of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.errors import UsageError
from serving.regular_file import read_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509 import Certificate

PASSWORD_VARIABLE = "TFBUNDLE_KEY_PASSWORD"
"""Environment variable that holds the password of a private key."""

_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_LIMIT = 1 << 20
_MAKE_KEY = "make one with `openssl ecparam -name prime256v1 -genkey -noout -out key.pem`"


@dataclass(frozen=True)
class SigningKey:
    """A private key on an elliptic curve, with the certificates that vouch for it, if there are any.

    Attributes:
        pem: the key in PKCS #8, without a password.
        certificate: path of the key's certificate; None to sign with the bare key.
        chain: paths of the certificates between it and the root.
    """

    pem: bytes
    certificate: Path | None = None
    chain: tuple[Path, ...] = ()

    @classmethod
    def load(
        cls, path: Path, password: str | None = None, certificate: Path | None = None, chain: Sequence[Path] = ()
    ) -> SigningKey:
        """Read a private key.

        Args:
            path: a PEM file.
            password: its password, if it has one.
            certificate: path of the key's certificate.
            chain: paths of the certificates between it and the root.

        Raises:
            UsageError: a file cannot be read or is of another kind, the password is wrong or missing, or the certificate is of
                another key.
        """
        from cryptography.hazmat.primitives import serialization

        key = _private_key(path, password)
        if certificate is not None:
            owner = certificates(certificate)[0]
            for link in chain:
                certificates(link)
            if owner.public_key() != key.public_key():
                raise UsageError(
                    f"The certificate {certificate} is not of the private key {path}.",
                    fix="give the certificate that was issued for this key",
                    code="TFB9207",
                )
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(pem, certificate, tuple(chain))

    @contextmanager
    def as_path(self) -> Iterator[Path]:
        """Yield a path from which the key can be read once. It is a pipe, so that no decrypted key is written to a disk."""
        reader, writer = os.pipe()
        try:
            os.write(writer, self.pem)  # far less than a pipe holds
            os.close(writer)
            yield Path(f"/dev/fd/{reader}")
        finally:
            os.close(reader)


def is_encrypted(path: Path) -> bool:
    """Return whether a PEM file holds a private key with a password.

    Raises:
        UsageError: the file cannot be read.
    """
    return b"ENCRYPTED" in _read(path)


def _private_key(path: Path, password: str | None) -> ec.EllipticCurvePrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    content = _read(path)
    if password is None and b"ENCRYPTED" in content:
        raise UsageError(
            f"The private key {path} has a password.",
            fix=f"set it in the environment variable {PASSWORD_VARIABLE}, or run the command in a terminal, which asks for it",
            code="TFB9207",
        )
    secret = password.encode() if password is not None and b"ENCRYPTED" in content else None
    try:
        key = serialization.load_pem_private_key(content, secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        what = "cannot be read with this password" if secret is not None else "is not a private key in PEM format"
        raise UsageError(f"The file {path} {what}.", fix=f"check the password, or {_MAKE_KEY}", code="TFB9207") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        raise _other_kind(path)
    return key


def public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Read a public key on an elliptic curve.

    Raises:
        UsageError: the file cannot be read or is of another kind.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    content = _read(path)
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise UsageError(
            f"The file {path} is not a public key in PEM format.",
            fix="write it with `openssl ec -in key.pem -pubout -out key.pub`",
            code="TFB9207",
        ) from exc
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise _other_kind(path)
    return key


def certificates(path: Path) -> list[Certificate]:
    """Read the certificates of a PEM file.

    Raises:
        UsageError: the file cannot be read or has no certificate.
    """
    from cryptography import x509

    content = _read(path)
    try:
        return list(x509.load_pem_x509_certificates(content))
    except ValueError as exc:
        raise UsageError(
            f"The file {path} has no certificate in PEM format.", fix="give the certificate itself, not its key", code="TFB9207"
        ) from exc


def _other_kind(path: Path) -> UsageError:
    return UsageError(
        f"The key {path} is not on one of the curves P-256, P-384 and P-521, which model signatures are made with.",
        fix=_MAKE_KEY,
        code="TFB9207",
    )


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, _LIMIT)
    except OSError as exc:
        raise UsageError(
            f"The file {path} cannot be read: {exc.strerror}.", fix="give the path of a PEM file", code="TFB9207"
        ) from exc
