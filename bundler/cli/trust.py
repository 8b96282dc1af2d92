"""The options that say whose signature a command accepts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

if TYPE_CHECKING:
    from bundler.delivery.supply_chain.signature import Trust

PublicKey = Annotated[Path | None, typer.Option(metavar="KEY.pub", help="Accept only what the owner of this key has signed.")]
Authority = Annotated[
    list[Path] | None,
    typer.Option(metavar="CA.pem", help="Accept only signers whom this certificate authority vouches for. Repeatable."),
]
Identity = Annotated[
    str | None, typer.Option(help="Accept only this identity, such as the URL of a workflow, through Sigstore.")
]
Provider = Annotated[str | None, typer.Option(metavar="URL", help="Who vouches for that identity.")]


class TrustOptions(Protocol):
    """Parameters of a command that checks a signature."""

    @property
    def key(self) -> Path | None:
        """The signer's public key."""

    @property
    def certificate_chain(self) -> list[Path] | None:
        """The authority that vouches for the signer."""

    @property
    def identity(self) -> str | None:
        """The identity that signed without a key."""

    @property
    def identity_provider(self) -> str | None:
        """Who vouches for that identity."""


def trust_of(options: TrustOptions, *, needed: bool = False) -> Trust | None:
    """Return whose signature a command accepts; None if its options do not say so.

    Args:
        options: the command's parameters.
        needed: whether it is an error that they do not.

    Raises:
        UsageError: the options contradict each other, or one is missing.
    """
    given = (options.key, options.certificate_chain, options.identity, options.identity_provider)
    if not (needed or any(given)):
        return None
    from bundler.delivery.supply_chain.signature import Trust

    return Trust(options.key, tuple(options.certificate_chain or ()), options.identity, options.identity_provider)
