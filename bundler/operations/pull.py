"""Pulling a bundle: from a registry into a folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.delivery.transfers import Progress, ignore
from bundler.errors import UsageError
from bundler.process.extras import require
from bundler.values.addresses import OciAddress, StoreAddress

if TYPE_CHECKING:
    from bundler.delivery.oci.pull import Pulled
    from bundler.delivery.supply_chain.signature import Trust


def pull(
    address: OciAddress | StoreAddress,
    target: Path,
    *,
    insecure: bool = False,
    replace: bool = False,
    trust: Trust | None = None,
    progress: Progress = ignore,
) -> Pulled:
    """Fetch a bundle from the place that an address names.

    Args:
        address: a tag or digest in a registry.
        target: the folder for the bundle.
        insecure: speak plain HTTP with a registry on this machine.
        replace: put it in the place of another bundle, which is kept beside it.
        trust: whose signature is accepted; without one, no signature is needed, and none is checked.
        progress: is told about each part.

    Raises:
        UsageError: the folder has something else, or the address is of another kind.
        VerifyError: the bundle's bundle.json is damaged, or no trusted signer signed these files.
        DeliveryError: the registry cannot be reached, refuses, or sends something else than a bundle.
        PublishError: the folder cannot be written, or the disk is full.
        MissingExtraError: the packages for registries are not installed.
    """
    if isinstance(address, OciAddress):
        from bundler.delivery.oci.pull import pull as pull_from_registry
        from bundler.delivery.oci.registry import Registry
        from bundler.operations.attestations import fetch_all, refresh, require_signature

        registry = Registry.at(address, insecure=insecure)
        if trust is not None:
            require("sign", "The check of a signature")
            require_signature(registry, address)

        def accept(tree: Path, digest: str) -> None:
            fetch_all(tree, registry, address.pinned(digest), trust)

        pulled = pull_from_registry(registry, address, target, replace=replace, progress=progress, accept=accept)
        if not pulled.changed:
            refresh(target, registry, address.pinned(pulled.digest), trust)
        return pulled
    raise UsageError(
        f"{address} is not the address of a registry.", fix="write oci://HOST/REPOSITORY:TAG", code="TFB9001"
    )


def default_target(address: OciAddress | StoreAddress) -> Path:
    """Return the folder of a pull without -o: dist/NAME, as that of a build."""
    name = address.repository if isinstance(address, OciAddress) else address.path
    return Path("dist") / name.rpartition("/")[2]


@contextmanager
def fetched(address: OciAddress | StoreAddress, trust: Trust | None, *, insecure: bool = False) -> Iterator[Path]:
    """Pull a bundle into a temporary folder, for a command that only looks at it.

    Args:
        address: its tag or digest.
        trust: whose signature is accepted; None to check nothing.
        insecure: speak plain HTTP with a registry on this machine.

    Raises:
        VerifyError: as `pull`.
        DeliveryError: the registry cannot be reached, refuses, or sends something else than a bundle.
    """
    with tempfile.TemporaryDirectory(prefix="tfbundle-") as folder:
        target = Path(folder) / default_target(address).name
        pull(address, target, insecure=insecure, trust=trust)
        yield target
