"""TorchScript archives, written by torch.jit.save."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch

from bundler.errors import SourceError
from bundler.process.causes import cause_of
from bundler.sources import LoadedModel
from bundler.sources.files import file_provenance
from bundler.sources.module import from_module
from bundler.spec.bundle_spec import ModelSpec
from bundler.values.signature import TensorSpec


def is_torchscript(path: Path) -> bool:
    """Return True if a file is a zip archive with TorchScript code; that of a state dict contains no code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return any("/code/" in name for name in names) and any(name.endswith("/constants.pkl") for name in names)


def load(model: ModelSpec, *, path: Path) -> LoadedModel:
    """Load TorchScript on the CPU. It has the names of its inputs, but not their dims, which come from `--input`.

    Args:
        model: the source and the user's settings.
        path: the archive.

    Raises:
        SourceError: the archive is damaged, or there is no --input.
    """
    try:
        module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as exc:
        raise SourceError(
            f"{path.name} is damaged, or needs operators that are not installed: {cause_of(exc)}.",
            where=str(path),
            fix=f"save it again with torch {torch.__version__.partition('+')[0]}",
            code="TFB2104",
        ) from exc
    specs = tuple(TensorSpec.parse(text) for text in model.inputs)
    return from_module(module, inputs=specs, provenance={"source": model.source, **file_provenance(path)})
