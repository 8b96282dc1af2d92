"""The shipped tree: its files, and what is common to specialising them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bundler.render import RenderContext

TREE = Path(__file__).resolve().parents[3] / "k8s"
"""The kustomize tree: beside the packages in the repository and in an installation."""

STATE_SCRIPT = "base/config/model-state.sh"

EXAMPLE = "digits"
"""The bundle and the model that the shipped tree serves."""

INSTANCE = "app.kubernetes.io/instance"

CONTAINER = "/spec/template/spec/containers/0"
"""Where a JSON patch of the Deployment finds the server."""

Edit = Callable[[Any], None]
"""Sets, in place, what differs in one YAML document for a bundle."""

_NAME = re.compile(rf"^{EXAMPLE}(?=$|-[a-z-]+$)")


def shipped(path: str) -> str:
    return (TREE / path).read_text("utf-8")


def unchanged(document: Any) -> None:
    """A file that names nothing of the bundle."""


def rename(document: Any, name: str) -> None:
    """Give every object of a document, and every reference to one, the name of a bundle.

    Strings that are `digits` or `digits-<suffix>` are names of objects in the files that this is used for.
    """
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        if isinstance(value, str):
            if _NAME.search(value):
                document[key] = _NAME.sub(name, value)
        elif isinstance(value, (dict, list)):
            rename(value, name)


def ports(context: RenderContext) -> tuple[int, int]:
    """gRPC and REST."""
    return context.spec.serving.grpc_port, context.spec.serving.rest_port


def set_image(entry: Any, reference: str) -> None:
    """Make an entry of a kustomization's `images` stand for an image reference."""
    entry["newName"], tag, digest = split_image(reference)
    entry["newTag"] = tag
    if digest is not None:
        entry["digest"] = digest
    if tag is None:
        del entry["newTag"]


def split_image(reference: str) -> tuple[str, str | None, str | None]:
    """Name, tag and digest of an image reference: `registry:5000/digits:2@sha256:…`.

    Without tag and digest it means `latest`: not what a deployment should pin, but what the user wrote.
    """
    name, _, digest = reference.partition("@")
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, None if digest else "latest", digest or None
    return head, tag, digest or None
