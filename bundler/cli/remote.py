"""Bundles that a command gets by an address: the local folder that stands for one while the command runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from serving.texts import shell_command

if TYPE_CHECKING:
    from bundler.bundle.manifest import Manifest
    from bundler.values.addresses import StoreAddress

BUNDLE = "A folder that tfbundle build wrote, or the address of one, e.g. s3://bucket/dist."
"""Help of a parameter that names a bundle."""

Insecure = Annotated[bool, typer.Option("--insecure", help="Speak plain HTTP; only with a registry on this machine.")]

Needed = Literal["whole", "without_weights", "served", "mobile"]
"""Which files of a bundle a command reads, as `bundler.operations.stores` names them."""


def store_address(text: str) -> StoreAddress | None:
    """Return the address of a store that a parameter holds; None for a path on this machine.

    Raises:
        UsageError: it is another address, such as one in a registry.
    """
    from bundler.errors import UsageError
    from bundler.values.addresses import OCI, StoreAddress, is_remote

    if not is_remote(text):
        return None
    if text.startswith(OCI):
        pull = shell_command("tfbundle", "pull", text, "-o", "DIR")
        raise UsageError(
            f"This command does not take an address in a registry: {text}", fix=f"run `{pull}`, then give DIR", code="TFB9117"
        )
    return StoreAddress.parse(text)


def folder_of(text: str, needed: Needed) -> Path:
    """Return the folder of a bundle: the path itself, or that of a local copy of a store's bundle.

    Args:
        text: the path or address.
        needed: which files of a store's bundle the command reads.
    """
    address = store_address(text)
    if address is None:
        return Path(text)
    from bundler.cli.progress import transfers
    from bundler.operations import stores

    with transfers() as progress:
        return stores.local_copy(address, stores.NEEDED[needed], progress)


@contextmanager
def changed_folder(
    text: str,
    *,
    may_be_new: bool = False,
    adopts: bool = False,
    also: Callable[[Manifest], Callable[[str], bool]] | None = None,
) -> Iterator[Path]:
    """Return a context with a bundle's folder for a command that changes the bundle; a store gets the changes at the end.

    Args:
        text: the path or address.
        may_be_new: whether there need not be a bundle yet.
        adopts: whether the command takes in versions that are in the folder already.
        also: returns, for the manifest of a bundle in a store, which further files the command reads.
    """
    address = store_address(text)
    if address is None:
        yield Path(text)
        return
    from bundler.cli.progress import transfers
    from bundler.operations.stores import changed_copy

    with changed_copy(address, transfers, may_be_new=may_be_new, adopts=adopts, also=also) as folder:
        yield folder
