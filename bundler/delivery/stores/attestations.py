"""The signature and the papers of a bundle in a store: bundle.json does not list them, so they are transferred beside it.

They are small, and are written after bundle.json, of which they speak: between the two, a reader finds a bundle that is not
signed yet, or one whose signature is of an earlier state, and is refused if it asks for a signature.
"""

from __future__ import annotations

from pathlib import Path

from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import Manifest
from bundler.delivery.stores.store import Store


def _paths(layout: BundleLayout, manifest: Manifest) -> list[Path]:
    """Return where the signature and the papers of a signed bundle are, the signature last."""
    return [*layout.papers(manifest.models), layout.signature]


def upload(store: Store, layout: BundleLayout, manifest: Manifest) -> int:
    """Write a signed bundle's signature and papers where the store has others; return how many. An unsigned bundle changes none.

    Raises:
        DeliveryError: the store cannot be written.
    """
    if not layout.signature.is_file():
        return 0
    changed = 0
    for path in _paths(layout, manifest):
        name, data = layout.relative(path), path.read_bytes() if path.is_file() else None
        if store.read(name) == data:
            continue
        changed += 1
        if data is None:
            store.remove([name])
        else:
            store.write(name, data)
    return changed


def download(store: Store, manifest: Manifest, root: Path) -> None:
    """Write a store's signature and papers into a folder that has its bundle; if the store has no signature, nothing is written.

    Raises:
        DeliveryError: the store cannot be read.
        OSError: the folder cannot be written.
    """
    layout = BundleLayout(root)
    signature = store.read(layout.relative(layout.signature))
    if signature is None:
        return
    for path in _paths(layout, manifest):
        data = signature if path == layout.signature else store.read(layout.relative(path))
        if data is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
