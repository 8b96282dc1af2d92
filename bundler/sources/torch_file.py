"""A .pt, .pth or similar file: TorchScript or weights, distinguished by the content, not by the name."""

from __future__ import annotations

from pathlib import Path

from bundler.errors import SourceError
from bundler.sources import LoadedModel, state_dict, torchscript
from bundler.sources.files import find_file
from bundler.spec.bundle_spec import ModelSpec


def load(model: ModelSpec, *, base: Path) -> LoadedModel:
    """Load TorchScript, or a state dict with its architecture.

    Args:
        model: the source and the user's settings.
        base: the folder that relative paths start from.

    Raises:
        SourceError: the file does not exist or is damaged, or does not belong to the architecture.
        UsageError: a weights file is given without its architecture.
    """
    path = find_file(model.source, base, what="The model file")
    if path.suffix.lower() != ".safetensors" and torchscript.is_torchscript(path):
        return torchscript.load(model, path=path)
    if path.suffix.lower() in (".ts", ".torchscript"):
        raise SourceError(
            f"{path.name} is damaged, or is not a TorchScript archive.",
            where=str(path),
            fix="save it again",
            code="TFB2104",
        )
    return state_dict.load(model, base=base)
