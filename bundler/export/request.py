"""What each maker of an ONNX file is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bundler.spec.signature_spec import SignatureSpec


@dataclass(frozen=True)
class SignatureRequest:
    """One signature to make, and the file it goes to."""

    name: str
    spec: SignatureSpec
    path: Path
    max_opset: int | None
    translations: Mapping[str, tuple[str, str]] = field(default_factory=dict)
