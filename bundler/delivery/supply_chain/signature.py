"""The signature of a bundle, by sigstore's model_signing: made, read, and compared with the bundle's files.

The signature is a sigstore bundle over an in-toto statement with the sha256 of bundle.json, of every file that bundle.json lists,
and of the bill of materials and the provenance beside them. It says nothing about other files in the folder; those in the parts
of a bundle are refused (`unlisted_files`). `model_signing verify` of the whole folder accepts it, too, if nothing else is there.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from bundler.bundle.files import link_on
from bundler.bundle.layout import BundleLayout, version_of
from bundler.bundle.manifest import Manifest, files_under
from bundler.delivery.supply_chain import keys, papers
from bundler.delivery.supply_chain.keys import SigningKey
from bundler.errors import TfbundleError, UsageError, VerifyError
from serving.regular_file import read_regular
from serving.texts import plural, shell_command

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_BYTES = 64 << 20
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHOWN = 5
"""Files that a message names."""

Kind = Literal["key", "certificate", "identity"]
_OPTIONS: Mapping[Kind, str] = {
    "key": "--key KEY.pub", "certificate": "--certificate-chain CA.pem", "identity": "--identity NAME --identity-provider URL",
}  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """Who signs without a key: an identity that an OpenID Connect provider vouches for.

    Attributes:
        token: the identity token; None to take the one that a CI such as GitHub Actions offers.
    """

    token: str | None = None


@dataclass(frozen=True)
class Trust:
    """Whose signature is accepted: exactly one of a public key, a certificate authority and an identity.

    Attributes:
        key: path of the public key.
        chain: paths of the root's certificate and, if signatures lack them, of those below it.
        identity: who must have signed, e.g. the URL of a workflow or an e-mail address.
        identity_provider: URL of the OpenID Connect provider that must have vouched for that.
    """

    key: Path | None = None
    chain: tuple[Path, ...] = ()
    identity: str | None = None
    identity_provider: str | None = None

    def __post_init__(self) -> None:
        """Check that one kind of trust is given, completely."""
        given = [bool(self.key), bool(self.chain), bool(self.identity or self.identity_provider)]
        if sum(given) != 1 or bool(self.identity) != bool(self.identity_provider):
            raise UsageError(
                "Whose signature should be accepted?",
                fix=f"give one of {', '.join(_OPTIONS.values())}",
                code="TFB1001",
            )

    @property
    def kind(self) -> Kind:
        """The kind of signature that this trust is about."""
        return "key" if self.key else "certificate" if self.chain else "identity"


@dataclass(frozen=True)
class SignatureFile:
    """What a signature file claims; nothing in it is proved yet.

    Attributes:
        path: the file.
        kind: what its signature was made with.
        signer: the sha256 of the public key's PEM form; empty for other kinds.
        chain: the certificates (DER), the signer's first.
        digests: the sha256 of each signed file, by path.
    """

    path: Path
    kind: Kind
    signer: str
    chain: tuple[bytes, ...]
    digests: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> SignatureFile:
        """Read a signature.

        Raises:
            VerifyError: there is none, or the file is not a signature by model_signing.
        """
        try:
            content = read_regular(path, MAX_BYTES)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise VerifyError(
                "The bundle has no signature.",
                where=str(path),
                fix="sign it with `tfbundle sign DIR --key KEY.pem`, or fetch a signed one",
                code="TFB9201",
            ) from exc
        except OSError as exc:
            raise damaged(path, f"it cannot be read: {exc.strerror}") from exc
        return cls.parse(content, path)

    @classmethod
    def parse(cls, content: bytes, path: Path) -> SignatureFile:
        """Return what the content of a signature file claims; `path` names it in messages.

        Raises:
            VerifyError: it is not a signature by model_signing.
        """
        try:
            document = _object(json.loads(content))
            if document.get("mediaType") != MEDIA_TYPE:
                raise ValueError(f"its media type is not {MEDIA_TYPE}")
            material, envelope = _object(document["verificationMaterial"]), _object(document["dsseEnvelope"])
            if envelope["payloadType"] != _PAYLOAD_TYPE or len(envelope["signatures"]) != 1:
                raise ValueError("its envelope does not hold one signed in-toto statement")
            kind, signer, chain = _signer(material)
            statement = _object(json.loads(base64.b64decode(envelope["payload"], validate=True)))
            return cls(path, kind, signer, chain, _digests(statement))
        except KeyError as exc:
            raise damaged(path, f"it lacks {exc}") from exc
        except (ValueError, TypeError, AttributeError, binascii.Error, RecursionError) as exc:
            raise damaged(path, str(exc)) from exc


def damaged(path: Path, how: str) -> VerifyError:
    """Return the error for a signature file that is not one, or whose content was altered."""
    return VerifyError(
        f"The signature is damaged: {how}.", where=str(path), fix="fetch it again, or sign the bundle again", code="TFB9202"
    )


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"it has {type(value).__name__} in the place of an object")
    return value


def _signer(material: Mapping[str, Any]) -> tuple[Kind, str, tuple[bytes, ...]]:
    if material.get("publicKey") is not None:
        return "key", str(_object(material["publicKey"]).get("hint") or ""), ()
    if material.get("x509CertificateChain") is not None:
        rows = _object(material["x509CertificateChain"])["certificates"]
        chain = tuple(base64.b64decode(_object(row)["rawBytes"], validate=True) for row in rows)
        if not chain:
            raise ValueError("it has no certificate")
        return "certificate", "", chain
    return "identity", "", (base64.b64decode(_object(material["certificate"])["rawBytes"], validate=True),)


def _digests(statement: Mapping[str, Any]) -> dict[str, str]:
    if statement.get("predicateType") != PREDICATE_TYPE:
        raise ValueError("it does not sign the files of a model")
    predicate = _object(statement["predicate"])
    rows = [_object(row) for row in predicate["resources"]]
    digests = {row["name"]: row["digest"] for row in rows if row["algorithm"] == "sha256"}
    valid = all(isinstance(name, str) and isinstance(value, str) and _SHA256.fullmatch(value) for name, value in digests.items())
    if not valid or len(digests) != len(rows):
        raise ValueError("its list of files is not one of sha256 hashes")
    return digests


def signed_paths(layout: BundleLayout, manifest: Manifest) -> list[str]:
    """Return the files that a signature of a bundle covers, relative to its root, sorted."""
    return sorted({*manifest.files, layout.manifest.name, *map(layout.relative, layout.papers(manifest.models))})


def unlisted_files(layout: BundleLayout, signed: Sequence[str]) -> list[str]:
    """Return the files in the parts of a bundle that are not signed, relative to its root.

    Files of the user's own beside the parts, such as a README, are not listed: nothing of a bundle reads them.
    """
    parts = (*layout.version_folders, *layout.generated, layout.attestations_dir)
    known = {*signed, layout.relative(layout.signature)}
    files = (path for part in parts for path in (files_under(part) if part.is_dir() else [part]))
    return sorted({layout.relative(path) for path in files if os.path.lexists(path)} - known)


def check_no_links(layout: BundleLayout, paths: Sequence[str]) -> None:
    """Raise if a file is reached through a symbolic link or is not a regular one: a signature covers content, not links.

    Raises:
        VerifyError: a path is a link, a FIFO, a socket or a device.
    """
    for path in paths:
        link = link_on(layout.root, path)
        file = layout.root / path
        if link is not None or (file.exists() and not file.is_file()):
            what = "is a symbolic link" if link is not None else "is not a regular file"
            raise VerifyError(
                f"{link or path} {what}, which a signature does not cover.",
                where=str(layout.root),
                fix="put the file itself in its place",
                code="TFB9209",
            )


def make(layout: BundleLayout, paths: Sequence[str], signer: SigningKey | Identity, target: Path) -> dict[str, str]:
    """Sign files of a bundle.

    Args:
        layout: the bundle's paths.
        paths: the files, relative to the bundle's root.
        signer: the key, or who signs without one.
        target: the signature file to write.

    Returns:
        The sha256 of each file, by path.

    Raises:
        UsageError: an identity is needed and cannot be had.
    """
    from model_signing import signing

    from bundler.delivery.supply_chain.signed_files import SignedFiles

    files = SignedFiles(paths, _unsigned(layout))
    config: Any = signing.Config  # without annotations
    config = config().set_hashing_config(files)
    if isinstance(signer, Identity):
        _use_identity(config, signer)
        _with_identity(lambda: config.sign(layout.root, target))
    else:
        with signer.as_path() as key:
            if signer.certificate is None:
                config.use_elliptic_key_signer(private_key=key)
            else:
                chain = signer.chain or (signer.certificate,)  # model_signing needs one; the file may hold the whole chain
                config.use_certificate_signer(
                    private_key=key, signing_certificate=signer.certificate, certificate_chain=chain
                )
        config.sign(layout.root, target)
    return files.digests


def _unsigned(layout: BundleLayout) -> list[str]:
    return [layout.relative(layout.signature), layout.lock.name]


def _use_identity(config: Any, signer: Identity) -> None:
    """Set model_signing up to sign with an identity token.

    Raises:
        UsageError: there is no token, or Sigstore cannot be reached.
    """
    from sigstore.oidc import detect_credential

    token = signer.token
    try:
        token = token or detect_credential()
    except Exception as exc:
        raise _no_identity(f"The identity of this CI job cannot be had: {_first_line(exc)}.") from exc
    if not token:
        raise _no_identity("There is no identity to sign with.")
    _with_identity(lambda: config.use_sigstore_signer(identity_token=token))


def _with_identity(step: Any) -> None:
    try:
        step()
    except Exception as exc:
        if isinstance(exc, TfbundleError):
            raise
        raise _no_identity(f"Sigstore did not sign: {type(exc).__name__}: {_first_line(exc)}.") from exc


def _no_identity(what: str) -> UsageError:
    return UsageError(
        what,
        fix="sign with --key KEY.pem, or run in a CI that reaches sigstore.dev and offers an identity token (GitHub Actions: "
        "permissions: id-token: write)",
        code="TFB9211",
    )


def _first_line(exc: BaseException) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0].rstrip(".")


def check(layout: BundleLayout, manifest: Manifest, trust: Trust) -> dict[str, str]:
    """Check that the files of a bundle are those that a trusted signer signed.

    Args:
        layout: the bundle's paths.
        manifest: its bundle.json.
        trust: whose signature is accepted.

    Returns:
        The sha256 of every file of the bundle, by path, from the one time that it was read.

    Raises:
        VerifyError: the signature is missing, damaged, of another signer or another bundle, or the bundle differs from it.
        UsageError: a key or certificate cannot be read.
    """
    signature = SignatureFile.read(layout.signature)
    verifier = _verifier(signature, trust)
    paths = signed_paths(layout, manifest)
    check_no_links(layout, paths)
    present = [path for path in paths if (layout.root / path).is_file()]

    from bundler.delivery.supply_chain.signed_files import SignedFiles

    genuine: list[bool] = []

    def before() -> None:
        genuine.append(True)
        _check_dates(signature)

    files = SignedFiles(present, _unsigned(layout), before)
    verifier.set_hashing_config(files)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # model_signing 1.1 calls Logger.warn
            verifier.verify(layout.root, signature.path)
    except (TfbundleError, OSError):
        raise
    except Exception as exc:
        if not genuine:
            raise _not_genuine(signature, trust, exc) from exc
        _compare(layout, manifest, signature, files.digests)  # says what model_signing has found
        raise
    _compare(layout, manifest, signature, files.digests)
    return files.digests


def _verifier(signature: SignatureFile, trust: Trust) -> Any:
    """Return model_signing's verifier for the trust.

    Raises:
        UsageError: a key or certificate cannot be read.
        VerifyError: the signature is of another kind, or of another key.
    """
    from model_signing import verifying

    config: Any = verifying.Config  # without annotations
    if trust.key:
        _check_key(signature, trust.key)
    for link in trust.chain:
        keys.certificates(link)
    if signature.kind != trust.kind:
        raise VerifyError(
            f"The bundle was signed with {_article(signature.kind)}, not with {_article(trust.kind)}.",
            where=str(signature.path),
            fix=f"verify it with {_OPTIONS[signature.kind]}, if you trust that signer",
            code="TFB9203",
        )
    if trust.key:
        return config().use_elliptic_key_verifier(public_key=trust.key)
    if trust.chain:
        return config().use_certificate_verifier(certificate_chain=trust.chain)
    assert trust.identity and trust.identity_provider
    try:
        return config().use_sigstore_verifier(identity=trust.identity, oidc_issuer=trust.identity_provider)
    except Exception as exc:
        raise VerifyError(
            f"Sigstore's trusted root cannot be had: {type(exc).__name__}: {_first_line(exc)}.",
            fix="verify where sigstore.dev can be reached, or sign with a key",
            code="TFB9211",
        ) from exc


def _article(kind: Kind) -> str:
    return "an identity" if kind == "identity" else f"a {kind}"


def _check_key(signature: SignatureFile, path: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    pem = keys.public_key(path).public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    hint = hashlib.sha256(pem).hexdigest()
    if signature.kind == "key" and signature.signer != hint:
        raise VerifyError(
            f"The bundle was signed by another key: by {signature.signer[:16] or 'an unnamed one'}…, and {path} is {hint[:16]}….",
            where=str(signature.path),
            fix="ask the signer for the public key; the fingerprints are the sha256 of the public keys' files",
            code="TFB9203",
        )


def _not_genuine(signature: SignatureFile, trust: Trust, exc: Exception) -> VerifyError:
    """Return the error for a signature that model_signing refuses before it looks at the files."""
    from cryptography.exceptions import InvalidSignature
    from OpenSSL.crypto import X509StoreContextError

    if isinstance(exc, InvalidSignature):
        return damaged(signature.path, "its content was altered after it was made")
    if isinstance(exc, X509StoreContextError) or "cannot be used for signing" in str(exc):
        return VerifyError(
            f"The signer's certificate is not trusted: {_first_line(exc)}.",
            where=str(signature.path),
            fix=f"check that {', '.join(map(str, trust.chain))} is the authority that issued it",
            code="TFB9204",
        )
    if trust.kind == "identity":
        return VerifyError(
            f"The signature is not one of {trust.identity}: {_first_line(exc)}.",
            where=str(signature.path),
            fix="check --identity and --identity-provider, or ask who signed the bundle",
            code="TFB9203",
        )
    return damaged(signature.path, f"{type(exc).__name__}: {_first_line(exc)}")


def _check_dates(signature: SignatureFile) -> None:
    """Raise if a certificate of the signature is not valid today.

    model_signing checks the chain at the time when the signer's certificate began. The signature has no time that a third party
    vouches for, so a signature could be made with an expired certificate unless today counts.

    Raises:
        VerifyError: a certificate has expired, or is not valid yet.
    """
    if signature.kind != "certificate":
        return
    from cryptography import x509

    now = datetime.now(timezone.utc)
    for der in signature.chain:
        certificate = x509.load_der_x509_certificate(der)
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not begin <= now <= end:
            when = f"expired on {end:%Y-%m-%d}" if now > end else f"is valid only from {begin:%Y-%m-%d}"
            raise VerifyError(
                f"The certificate {certificate.subject.rfc4514_string()!r} of the signature {when}.",
                where=str(signature.path),
                fix="sign the bundle again with a certificate that is valid",
                code="TFB9204",
            )


def _compare(layout: BundleLayout, manifest: Manifest, signature: SignatureFile, actual: Mapping[str, str]) -> None:
    """Compare the files with a signature that has proved genuine.

    Raises:
        VerifyError: they differ; the message says whether the signature is of another bundle, of an earlier state of this one, or
            which files changed.
    """
    added = [path for path in (*actual, *unlisted_files(layout, list(actual))) if path not in signature.digests]
    missing = [path for path in signature.digests if path not in actual]
    changed = [path for path, digest in actual.items() if signature.digests.get(path, digest) != digest]
    if not (added or missing or changed):
        return
    where = str(layout.root)
    if layout.manifest.name in changed:
        shared = [path for path in manifest.files if version_of(path) and path in signature.digests]
        same = [path for path in shared if manifest.files[path].sha256 == signature.digests[path]]
        if not same:
            raise VerifyError(
                "The signature is of another bundle: no model file that it signs is in this one.",
                where=where,
                fix="fetch the bundle and its signature together",
                code="TFB9206",
            )
        if len(same) == len(shared) and not any(path in changed for path in shared):
            raise VerifyError(
                "The bundle was signed before the last build, promotion or rendering, which the signature does not cover.",
                where=where,
                fix=f"sign it again: `{shell_command('tfbundle', 'sign', layout.root)} --key KEY.pem`",
                code="TFB9208",
            )
    else:
        papers.check(layout, manifest)  # says more of a bill of materials or a provenance that is another's
    raise VerifyError(
        f"The bundle is not what was signed: {'; '.join(_differences(changed, added, missing))}.",
        where=where,
        fix="fetch the bundle again; if the change is wanted, build and sign it again",
        code="TFB9205",
    )


def _differences(changed: Sequence[str], added: Sequence[str], missing: Sequence[str]) -> Iterator[str]:
    for what, paths in (("changed", changed), ("added", added), ("missing", missing)):
        if paths:
            names = sorted(set(paths))
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield f"{plural(len(names), 'file')} {what} ({', '.join(names[:_SHOWN])}{more})"


def is_stale(layout: BundleLayout, manifest: Manifest) -> bool:
    """Return whether the bundle has a signature file that claims another bundle.json; nothing about it is proved.

    Raises:
        VerifyError: the file is not a signature.
    """
    claimed = SignatureFile.read(layout.signature).digests.get(layout.manifest.name)
    return claimed != hashlib.sha256(manifest.to_bytes()).hexdigest()
