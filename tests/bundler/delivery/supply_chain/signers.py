"""Keys, certificate authorities and signed bundles for tests, made on the fly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bundler.bundle.layout import version_of
from bundler.bundle.manifest import FileEntry, Manifest

PEM = serialization.Encoding.PEM


@dataclass(frozen=True)
class KeyPair:
    """A private key on an elliptic curve, and the PEM files of both halves."""

    secret: ec.EllipticCurvePrivateKey
    private: Path
    public: Path


def key_pair(folder: Path, name: str = "key", *, password: str = "", curve: ec.EllipticCurve | None = None) -> KeyPair:
    """Make a key, and write NAME.pem and NAME.pub."""
    return _written(folder, name, ec.generate_private_key(curve or ec.SECP256R1()), password)


def fixed_key_pair(folder: Path, name: str, number: int) -> KeyPair:
    """Write a key that is the same in every run, and so known to everybody."""
    return _written(folder, name, ec.derive_private_key(number, ec.SECP256R1()), "")


def _written(folder: Path, name: str, secret: ec.EllipticCurvePrivateKey, password: str) -> KeyPair:
    lock = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(secret.private_bytes(PEM, serialization.PrivateFormat.PKCS8, lock))
    public.write_bytes(secret.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return KeyPair(secret, private, public)


def rewrite_versions(root: Path) -> None:
    """Give every file of a bundle's versions another content, with bundle.json to match."""
    manifest = Manifest.read(root / "bundle.json")
    files = dict(manifest.files)
    for path in filter(version_of, files):
        (root / path).write_bytes((root / path).read_bytes() + b"x")
        files[path] = FileEntry.of(root / path)
    (root / "bundle.json").write_bytes(replace(manifest, files=files).to_bytes())


class Authority:
    """A certificate authority; `root` is the PEM file of its certificate."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name, self._key = folder, name, key_pair(folder, f"{name}-key")
        builder = self._builder(name, name, self._key, days=(-30, 30))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.root = self._write(builder, name)

    def issue(self, key: KeyPair, name: str, *, days: tuple[int, int] = (-1, 5), signs: bool = True) -> Path:
        """Return the PEM file of a certificate for a key, valid between two days counted from today."""
        usage = ExtendedKeyUsageOID.CODE_SIGNING if signs else ExtendedKeyUsageOID.SERVER_AUTH
        builder = self._builder(name, self._name, key, days=days).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return self._write(builder, name)

    def _builder(self, name: str, issuer: str, key: KeyPair, days: tuple[int, int]) -> x509.CertificateBuilder:
        now = datetime.now(timezone.utc)
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, issuer)]
        return (
            x509.CertificateBuilder()
            .subject_name(names[0])
            .issuer_name(names[1])
            .public_key(key.secret.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days[0]))
            .not_valid_after(now + timedelta(days[1]))
        )

    def _write(self, builder: x509.CertificateBuilder, name: str) -> Path:
        path = self._folder / f"{name}.crt"
        path.write_bytes(builder.sign(self._key.secret, hashes.SHA256()).public_bytes(PEM))
        return path
