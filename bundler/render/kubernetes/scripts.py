"""The shell scripts of the tree: one source each, and the copies that kustomize and Helm need.

kustomize reads no file outside the folder of a kustomization, not even through a symbolic link, and Helm reads none outside
the chart. A bundle's copies are written by `render`. After an edit of a source in the repository, update its copies with

    python -m bundler.render.kubernetes
"""

from __future__ import annotations

from pathlib import Path

from bundler.render.files import write_text
from bundler.render.kubernetes.tree import TREE, shipped

STATE_SCRIPT = "base/config/model-state.sh"
"""Reads the state of models; used by probes and by the health check of the Docker image."""

TLS_SCRIPT = "components/tls/ssl-config.sh"
"""Writes the server's ssl_config_file from a Kubernetes secret."""

FILL_SCRIPT = "components/fill-claim/fill-claim.sh"
"""Copies the models of an image to a volume claim."""

COPIES = {
    STATE_SCRIPT: (
        "components/canary/config/model-state.sh",
        "kserve/config/model-state.sh",
        "chart/files/model-state.sh",
    ),
    TLS_SCRIPT: ("chart/files/ssl-config.sh",),
    FILL_SCRIPT: ("kserve/config/fill-claim.sh", "chart/files/fill-claim.sh"),
}
"""Path of a script in the tree to the paths of its copies."""


def files() -> dict[str, str]:
    """Return path and text of each script of the tree and of each copy."""
    return {path: shipped(source) for source, copies in COPIES.items() for path in (source, *copies)}


def write_copies(tree: Path = TREE) -> list[Path]:
    """Write the copies under `tree` from their sources in the shipped tree, and return their paths."""
    texts = files()
    return [write_text(tree / path, texts[path]) for copies in COPIES.values() for path in copies]
