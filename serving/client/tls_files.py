"""Read and check the certificates and the key that a client's TLS settings name, before a connection is made."""

from __future__ import annotations

import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from serving.client.connection import Tls
from serving.client.transport import Target
from serving.errors import ConfigError, TargetError

_EXPIRED, _NOT_YET_VALID = 10, 9
"""X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID (openssl/x509_vfy.h)."""


@dataclass(frozen=True)
class TlsFiles:
    """The contents of the files that TLS settings name.

    Attributes:
        tls: the settings.
        ca: PEM of the certificate authorities; None trusts the system's.
        certificate: PEM of the client's certificate, or None.
        key: PEM of the certificate's private key, or None.
    """

    tls: Tls
    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None

    def context(self) -> ssl.SSLContext:
        """Return the settings of Python's TLS."""
        context = ssl.create_default_context(cadata=self.ca.decode("ascii") if self.ca else None)
        if self.tls.certificate is not None and self.tls.key is not None:
            _load_pair(context, Path(self.tls.certificate), Path(self.tls.key))
        return context

    def overdue(self) -> str:
        """Return "has expired" or "is not valid yet" if that is so of the client's certificate, else an empty string."""
        if self.tls.certificate is None or self.tls.key is None:
            return ""
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _load_pair(server, Path(self.tls.certificate), Path(self.tls.key))
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        client.load_verify_locations(self.tls.certificate)
        return {_EXPIRED: "has expired", _NOT_YET_VALID: "is not valid yet"}.get(_handshake_error(client, server), "")


def read_tls_files(tls: Tls, target: Target) -> TlsFiles | None:
    """Read and check the files; return None for a target without encryption.

    Raises:
        TargetError: the settings are for TLS, but the target is not.
        ConfigError: a file cannot be read or used.
    """
    if not target.tls:
        if tls != Tls(ca=tls.ca):  # an authority alone was always accepted: it is what one client class is given for all targets
            scheme = "https" if target.rest else "grpcs"
            raise TargetError(
                f"A client certificate or the server's name is given, but {target} is not encrypted.",
                fix=f"write {scheme}://{target.address}, or leave out these settings",
                code="TFB7018",
            )
        return None
    if "," in target.address and tls.server_name is None:
        raise TargetError(
            f"{target} has several servers, whose certificates are checked for one name, and none is given.",
            fix="name what all their certificates are for: Tls(server_name=…), --server-name",
            code="TFB7018",
        )
    ca = tls.ca if isinstance(tls.ca, bytes | None) else _read(Path(tls.ca), "certificate authority")
    if ca is not None and not isinstance(tls.ca, bytes):
        try:
            ssl.create_default_context(cadata=ca.decode("ascii"))
        except (ssl.SSLError, ValueError) as exc:
            raise _unusable(f"{tls.ca} cannot be read as certificates", "give a PEM file: -----BEGIN CERTIFICATE-----") from exc
    if tls.certificate is None or tls.key is None:
        return TlsFiles(tls, ca)
    certificate, key = _read(Path(tls.certificate), "client certificate"), _read(Path(tls.key), "private key")
    files = TlsFiles(tls, ca, certificate, key)
    files.context()
    return files


def _read(path: Path, kind: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise _unusable(f"The {kind} {path} cannot be read: {exc.strerror or exc}", "check the path and its permissions") from exc


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    asked = False

    def refuse() -> bytes:
        nonlocal asked
        asked = True
        return b""

    try:
        context.load_cert_chain(certificate, key, refuse)
    except (ssl.SSLError, ValueError) as exc:
        if asked:
            raise ConfigError(
                f"The private key {key} is encrypted.",
                fix=f"store it decrypted for this program alone: openssl pkey -in {key} -out plain.pem, with mode 0600",
                code="TFB7014",
            ) from exc
        if "KEY_VALUES_MISMATCH" in str(exc):
            why, fix = f"{key} is not the private key of the certificate {certificate}", "give the two files of one pair"
        else:
            why = f"{certificate} and {key} cannot be read as a certificate and its private key"
            fix = "give PEM files: -----BEGIN CERTIFICATE----- and -----BEGIN PRIVATE KEY-----"
        raise _unusable(why, fix) from exc
    except OSError as exc:
        raise _unusable(f"{certificate} or {key} cannot be read: {exc.strerror or exc}", "check the paths") from exc


def _handshake_error(client: ssl.SSLContext, server: ssl.SSLContext) -> int:
    """Let two contexts shake hands in memory; return why the client refuses the server's certificate, 0 if it does not."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True))
    try:
        for _ in range(4):
            for end in ends:
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
    except ssl.SSLCertVerificationError as exc:
        return exc.verify_code
    except ssl.SSLError:
        return 0
    return 0


def _unusable(what: str, fix: str) -> ConfigError:
    return ConfigError(f"{what}.", fix=fix, code="TFB7013")
