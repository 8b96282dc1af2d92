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


def _image(reference: str) -> str:
    if not _IMAGE.fullmatch(reference) or len(reference) > 512:
        raise ValueError(f"{reference!r} is not the name of an image; write it like registry.example.com/digits:1")
    return reference


def _repository(name: str) -> str:
    if not _REPOSITORY.fullmatch(name) or len(name) > 255:
        raise ValueError(f"{name!r} is not the name of an image without its tag; write it like registry.example.com/serving")
    return name


Image = Annotated[str, AfterValidator(_image)]
"""An image's name, with or without a tag and a digest."""

Repository = Annotated[str, AfterValidator(_repository)]
"""An image's name without tag and digest."""
