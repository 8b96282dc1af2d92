"""Why TLS failed, in one clear message.

gRPC says only that no connection could be made, or that the socket was closed: servers of gRPC do not tell a client that they
refuse its certificate. So after a failure over TLS one more connection is made with Python's TLS, whose errors are exact.
"""

from __future__ import annotations

import socket
import ssl

from serving.client.tls_files import TlsFiles
from serving.client.transport import Target
from serving.errors import ConnectionFailedError, TlsError

_EXPIRED = (9, 10)
_OTHER_NAME = (62, 63, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH, _EMAIL_MISMATCH, _IP_ADDRESS_MISMATCH."""

_MOST_SECONDS = 5.0
_ANSWER_SECONDS = 1.0
"""How long a server may take to send its first bytes of HTTP/2, or to close the connection."""

_ABOUT_THE_CLIENT = (
    "CERTIFICATE_REQUIRED", "ALERT_UNKNOWN_CA", "ALERT_BAD_CERTIFICATE", "ALERT_CERTIFICATE_EXPIRED", "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_CERTIFICATE_REVOKED", "ALERT_UNSUPPORTED_CERTIFICATE", "ALERT_ACCESS_DENIED", "ALERT_HANDSHAKE_FAILURE",
)  # fmt: skip
"""Parts of OpenSSL's names for the alerts by which a server refuses a client's certificate, or asks for one."""


def tls_error(exc: BaseException, target: Target, files: TlsFiles) -> ConnectionFailedError | None:
    """Return the error of an exception of Python's TLS; None if it is about something else than certificates.

    Args:
        exc: what was raised while connecting, writing or reading.
        target: the server's address.
        files: the client's settings.
    """
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _server_certificate(exc, target, files)
    reason = getattr(exc, "reason", None) or ""
    if not isinstance(exc, ssl.SSLError):
        return None
    if any(part in reason for part in _ABOUT_THE_CLIENT):
        return _client_certificate(reason.rpartition("ALERT_")[2].replace("_", " ").lower(), target, files)
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"):
        fix = f"write {'http' if target.rest else 'grpc'}://{target.address} if it is not encrypted, or give the port for TLS"
        return TlsError(f"{target.address} does not speak TLS.", where=str(target), fix=fix, code="TFB7003")
    return None


def diagnose(target: Target, files: TlsFiles, seconds: float) -> ConnectionFailedError | None:
    """Connect once more and return why TLS fails; None if it does not, or if there is no connection at all. Blocks.

    Args:
        target: the server's address, of a gRPC port.
        files: the client's settings.
        seconds: most seconds to spend.
    """
    host, _, port = target.first_address.rpartition(":")
    context = files.context()
    context.set_alpn_protocols(["h2"])
    name = files.tls.server_name or host.strip("[]")
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), min(seconds, _MOST_SECONDS)) as plain,
            context.wrap_socket(plain, server_hostname=name) as encrypted,
        ):
            encrypted.settimeout(min(seconds, _ANSWER_SECONDS))
            if not encrypted.recv(1):  # a server of HTTP/2 speaks first
                return _client_certificate("the server closed the connection after the handshake", target, files)
    except OSError as exc:
        return tls_error(exc, target, files)
    return None


def _server_certificate(exc: ssl.SSLCertVerificationError, target: Target, files: TlsFiles) -> ConnectionFailedError:
    reason = exc.verify_message.rstrip(".")
    if exc.verify_code in _EXPIRED:
        state = "has expired" if exc.verify_code == _EXPIRED[1] else "is not valid yet"
        return TlsError(
            f"The certificate of {target.address}, or of its authority, {state}.",
            where=str(target),
            fix="renew the server's certificate and let the server load it; check this machine's clock",
            code="TFB7011",
        )
    if exc.verify_code in _OTHER_NAME:
        return TlsError(
            f"The certificate of {target.address} is for another name: {reason}.",
            where=str(target),
            fix="connect by a name in the certificate, or name it: Tls(server_name=…), --server-name",
            code="TFB7012",
        )
    trusted = "the system's authorities" if files.tls.ca is None else _shown_ca(files)
    return TlsError(
        f"The certificate of {target.address} is not trusted: {reason}.",
        where=f"{target}, trusting {trusted}",
        fix="give the authority that issued it: Tls(ca=…) or root_certificates, --ca on the command line",
        code="TFB7010",
    )


def _shown_ca(files: TlsFiles) -> str:
    return "the given certificates" if isinstance(files.tls.ca, bytes) else str(files.tls.ca)


def _client_certificate(reason: str, target: Target, files: TlsFiles) -> ConnectionFailedError:
    given = files.tls.certificate
    if given is None:
        return TlsError(
            f"{target.address} requires a client certificate, and none is given ({reason}).",
            where=str(target),
            fix="give one: Tls(certificate=…, key=…), --client-cert and --client-key on the command line",
            code="TFB7017",
        )
    state = files.overdue()
    refused = f"{target.address} does not accept the client certificate {given}"
    what = f"The client certificate {given} {state}" if state else refused
    fix = "renew it, and make a new client" if state else "use one that the server's authority for clients (custom_ca) has issued"
    return TlsError(f"{what} ({reason}).", where=str(target), fix=fix, code="TFB7017")
