"""tfbundle sign."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli.boundary import cleanly_interrupted
from bundler.cli.output import print_json, say, say_next
from bundler.cli.parameters import takes
from bundler.cli.push import Insecure
from serving.texts import plural

if TYPE_CHECKING:
    from bundler.delivery.supply_chain.keys import SigningKey
    from bundler.delivery.supply_chain.signature import Identity


@dataclass(frozen=True)
class SignOptions:
    """The command's parameters."""

    bundle: Annotated[
        str, typer.Argument(metavar="DIR", help="A folder that tfbundle build wrote, or oci://HOST/REPOSITORY:TAG.")
    ]
    key: Annotated[
        Path | None,
        typer.Option(metavar="KEY.pem", help="Private key, elliptic curve. Its password: $TFBUNDLE_KEY_PASSWORD, or a prompt."),
    ] = None
    certificate: Annotated[Path | None, typer.Option(metavar="CERT.pem", help="Certificate of the key.")] = None
    certificate_chain: Annotated[
        list[Path] | None, typer.Option(metavar="CA.pem", help="Certificate between that and the root. Repeatable.")
    ] = None
    keyless: Annotated[
        bool,
        typer.Option("--keyless", help="Sign with the identity of this CI job, or of $SIGSTORE_ID_TOKEN, through Sigstore."),
    ] = False
    insecure: Insecure = False
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False


@takes(SignOptions)
def sign(options: SignOptions) -> None:
    """Sign all files of a bundle, and write its bill of materials (CycloneDX) and provenance (SLSA) beside them.

    A build, promotion or rendering after that changes the bundle; sign it again then. With an address in a registry, the digests
    of the image and the artifact there are signed in cosign's form, which admission controllers check.
    """
    from bundler.operations.sign import sign as sign_bundle
    from bundler.values.addresses import is_remote

    signer = _signer(options)
    if is_remote(options.bundle):
        _sign_image(options, signer)
        return
    with cleanly_interrupted(f"{options.bundle} is unchanged."):
        signed = sign_bundle(Path(options.bundle), signer)
    if options.as_json:
        print_json({"signature": str(signed.signature), "files": signed.files})
        return
    where = signed.signature.relative_to(Path(options.bundle).resolve())
    say(f"{options.bundle} is signed: {plural(signed.files, 'file')}, in {where}.")
    if options.key and not options.certificate:
        say_next(("openssl", "ec", "-in", options.key, "-pubout", "-out", "key.pub"), _verify(options, "--key", "key.pub"))


def _sign_image(options: SignOptions, signer: SigningKey | Identity) -> None:
    from bundler.delivery.supply_chain.signature import Identity
    from bundler.errors import UsageError
    from bundler.operations.attestations import sign_image
    from bundler.values.addresses import OciAddress

    address = OciAddress.parse(options.bundle)
    if isinstance(signer, Identity) or signer.certificate:
        raise UsageError(
            "What is in a registry is signed by tfbundle with a bare key only.",
            fix="give --key KEY.pem alone, or use `cosign sign`, which signs with certificates and identities, too",
            code="TFB9211",
        )
    digests = sign_image(address, signer, insecure=options.insecure)
    if options.as_json:
        print_json({"address": str(address), "digests": digests})
        return
    say(f"{address} is signed for admission controllers:")
    for digest in digests:
        say(f"  {digest}")


def _verify(options: SignOptions, *trust: str) -> tuple[object, ...]:
    return ("tfbundle", "verify", options.bundle, "--signature", *trust)


def _signer(options: SignOptions) -> SigningKey | Identity:
    from bundler.delivery.supply_chain.keys import SigningKey
    from bundler.delivery.supply_chain.signature import Identity
    from bundler.errors import UsageError
    from bundler.process.extras import require

    if options.keyless == bool(options.key) or (options.certificate_chain and not options.certificate):
        raise UsageError(
            "What should the bundle be signed with?",
            fix="give --key KEY.pem, with --certificate CERT.pem if an authority vouches for it, or --keyless",
            code="TFB1001",
        )
    require("sign", "A signature")
    if options.key is None:
        return Identity(os.environ.get("SIGSTORE_ID_TOKEN"))
    return SigningKey.load(options.key, _password(options.key), options.certificate, options.certificate_chain or ())


def _password(key: Path) -> str | None:
    """Return the password of a private key from the environment or, in a terminal, from a prompt; None if there is none."""
    from bundler.delivery.supply_chain.keys import PASSWORD_VARIABLE, is_encrypted

    if not is_encrypted(key):
        return None
    password = os.environ.get(PASSWORD_VARIABLE)
    if password is None and sys.stdin.isatty():
        password = typer.prompt(f"Password of {key}", hide_input=True, err=True)
    return password
