"""A bundle from a registry in a temporary folder, for commands that only look at it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bundler.operations.pull import default_target, pull

if TYPE_CHECKING:
    from bundler.delivery.supply_chain.signature import Trust
    from bundler.values.addresses import OciAddress


@contextmanager
def fetched(address: OciAddress, trust: Trust | None, *, insecure: bool = False) -> Iterator[Path]:
    """Pull a bundle into a temporary folder, for a command that only looks at it.

    Args:
        address: its tag or digest.
        trust: whose signature is accepted; None to check nothing.
        insecure: speak plain HTTP with a registry on this machine.

    Raises:
        VerifyError: as `bundler.operations.attestations.fetch_all`.
        DeliveryError: the registry cannot be reached, refuses, or sends something else than a bundle.
    """
    with tempfile.TemporaryDirectory(prefix="tfbundle-") as folder:
        target = Path(folder) / default_target(address).name
        pull(address, target, insecure=insecure, trust=trust)
        yield target
