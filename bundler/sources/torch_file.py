"""A .pt, .pth or the like: TorchScript or weights, told apart by what is in it, not by the name."""

from __future__ import annotations

from pathlib import Path

from bundler.errors import SourceError
from bundler.sources import LoadedModel, state_dict, torchscript
from bundler.sources.files import find_file
from bundler.spec.bundle_spec import ModelSpec


def load(model: ModelSpec, *, base: Path) -> LoadedModel:
    """Load TorchScript, or a state dict with its architecture.

    Raises:
        SourceError, UsageError: as `torchscript.load` and `state_dict.load`.
    """
    path = find_file(model.source, base, what="The model file")
    if path.suffix.lower() != ".safetensors" and torchscript.is_torchscript(path):
        return torchscript.load(model, path=path)
    if path.suffix.lower() in (".ts", ".torchscript"):
        raise SourceError(f"{path.name} is damaged or no TorchScript archive.", where=str(path), fix="save it again")
    return state_dict.load(model, base=base)
