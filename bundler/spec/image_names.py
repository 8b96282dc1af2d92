"""Names of container images in bundle.yaml (distribution/reference, reference.go)."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?"
_REPOSITORY = re.compile(rf"(?:{_HOST}/)?{_COMPONENT}(?:/{_COMPONENT})*")
_IMAGE = re.compile(
    rf"{_REPOSITORY.pattern}(?::[A-Za-z0-9_][A-Za-z0-9_.\-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?"
)


def check_image(reference: str) -> str:
    """Return a reference if it names an image.

    Raises:
        ValueError: it does not.
    """
    if not _IMAGE.fullmatch(reference) or len(reference) > 512:
        raise ValueError(f"{reference!r} is not the name of an image; write it like registry.example.com/digits:1")
    return reference


def has_registry(reference: str) -> bool:
    """Return whether a reference begins with the host of a registry, and not with a part of a name at Docker Hub.

    The rule is Docker's (distribution/reference, normalize.go): the part before the first slash has a dot or a colon, or is
    `localhost`.
    """
    host, slash, _ = reference.partition("/")
    return bool(slash) and ("." in host or ":" in host or host == "localhost")


def _repository(name: str) -> str:
    if not _REPOSITORY.fullmatch(name) or len(name) > 255:
        raise ValueError(f"{name!r} is not the name of an image without its tag; write it like registry.example.com/serving")
    return name


Image = Annotated[str, AfterValidator(check_image)]
"""An image's name, with or without a tag and a digest."""

Repository = Annotated[str, AfterValidator(_repository)]
"""An image's name without tag and digest."""
