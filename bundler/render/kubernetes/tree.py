"""The shipped tree: reading its files, and edits that several of them need."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bundler.render import RenderContext

_IN_PACKAGE = Path(__file__).resolve().with_name("shipped")
_IN_REPOSITORY = Path(__file__).resolve().parents[3] / "k8s"

TREE = _IN_PACKAGE if _IN_PACKAGE.is_dir() else _IN_REPOSITORY
"""The shipped tree: k8s/ at the top of the repository, which the wheel carries as a folder of this package (pyproject.toml)."""

EXAMPLE = "digits"
"""Name of the bundle and of the model that the shipped tree serves."""

INSTANCE = "app.kubernetes.io/instance"
VERSION = "app.kubernetes.io/version"

CONTAINER = "/spec/template/spec/containers/0"
"""Path of the server's container in a JSON patch of the Deployment."""

Edit = Callable[[Any], None]
"""A function that adapts one YAML document to a bundle, in place."""

_NAME = re.compile(rf"^{EXAMPLE}(?=$|-[a-z-]+$)")


def shipped(path: str) -> str:
    """Return the text of a file of the shipped tree."""
    return (TREE / path).read_text("utf-8")


def unchanged(document: Any) -> None:
    """Leave a document as it is: nothing in it depends on the bundle."""


def rename(context: RenderContext, document: Any) -> None:
    """Give every object in a document, and every reference to one, the bundle's name in place of the example's.

    Every string that is `digits` or `digits-<suffix>` counts as an object's name, so use this only for files in which that
    holds.
    """
    _rename(document, context.objects_name)


def _rename(document: Any, name: str) -> None:
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        if isinstance(value, str):
            if _NAME.search(value):
                document[key] = _NAME.sub(name, value)
        elif isinstance(value, (dict, list)):
            _rename(value, name)


def set_namespace(context: RenderContext, document: Any) -> None:
    """Set the namespace of a kustomization, after apiVersion and kind; without the setting, whoever applies it chooses."""
    if context.spec.kubernetes.namespace is not None:
        document.insert(2, "namespace", context.spec.kubernetes.namespace)


def ports(context: RenderContext) -> tuple[int, int]:
    """Return the gRPC port and the REST port."""
    return context.spec.serving.grpc_port, context.spec.serving.rest_port


def set_image(entry: Any, reference: str) -> None:
    """Set an entry of a kustomization's `images` to an image reference."""
    entry["newName"], tag, digest = split_image(reference)
    entry["newTag"] = tag
    if digest is not None:
        entry["digest"] = digest
    if tag is None:
        del entry["newTag"]


def split_image(reference: str) -> tuple[str, str | None, str | None]:
    """Split an image reference, such as `registry:5000/digits:2@sha256:…`, into name, tag and digest.

    A reference without tag and digest gets the tag `latest`. A deployment should not use it, but that is its meaning.
    """
    name, _, digest = reference.partition("@")
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, None if digest else "latest", digest or None
    return head, tag, digest or None
