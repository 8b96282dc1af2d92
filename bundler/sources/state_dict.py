"""A weights file (.pt, .pth, .bin, .ckpt, .safetensors) for a module that `--architecture file.py:callable` makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from bundler.errors import UsageError
from bundler.sources import LoadedModel
from bundler.sources.files import file_provenance, find_file
from bundler.sources.module import from_module
from bundler.sources.weights import fill, read_weights
from bundler.spec.bundle_spec import ModelSpec
from bundler.values.signature import TensorSpec


def load(model: ModelSpec, *, base: Path) -> LoadedModel:
    """Load a state dict into its architecture, or a whole pickled module if pickles are trusted.

    Args:
        model: the source and the user's settings.
        base: the folder that relative paths start from.

    Raises:
        SourceError: the file is damaged, or does not belong to the architecture.
        UsageError: the architecture is missing.
    """
    from bundler.sources.python_file import make_module

    path = find_file(model.source, base, what="The weights file")
    content = read_weights(path, trust=model.trust_pickle)
    provenance: dict[str, Any] = {"source": model.source, **file_provenance(path)}
    examples = None
    if isinstance(content, nn.Module):
        module = content
    elif model.architecture is None:
        raise UsageError(
            f"{path.name} contains only weights, not the module that they belong to.",
            fix="add --architecture file.py:callable (bundle.yaml: architecture)",
            code="TFB2101",
        )
    else:
        module, examples, provenance["architecture"] = make_module(model.architecture, base)
        fill(module, content, path)
    specs = tuple(TensorSpec.parse(text) for text in model.inputs)
    return from_module(module, examples=examples, inputs=specs, provenance=provenance)
