"""Reading weights files and loading them into a module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bundler.errors import SourceError
from bundler.sources.files import file_provenance, find_file
from bundler.sources.pickles import load_torch

_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training frameworks keep the state dict in a checkpoint."""


_SHOWN = 8


def load_weights(module: nn.Module, weights: str, base: Path, *, trust: bool) -> dict[str, Any]:
    """Load a state dict file into a module.

    Returns:
        The file's provenance.

    Raises:
        SourceError: a bad file, or one that does not belong to the module.
    """
    path = find_file(weights, base, what="The weights file")
    content = read_weights(path, trust=trust)
    fill(module, content.state_dict() if isinstance(content, nn.Module) else content, path)
    return file_provenance(path)


def read_weights(path: Path, *, trust: bool) -> dict[str, Tensor] | nn.Module:
    """The state dict in a file, unwrapped from a checkpoint; a whole module only from a trusted pickle.

    Raises:
        SourceError: the file is damaged, unsafe, or holds no state dict.
    """
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    content = load_torch(path, trust=trust)
    if isinstance(content, nn.Module):
        return content
    found = _unwrap(content)
    if found is None:
        keys = ", ".join(map(str, list(content)[:_SHOWN])) if isinstance(content, dict) else ""
        raise SourceError(
            f"{path.name} holds a {type(content).__name__}{f' with the keys {keys}' if keys else ''}, not a state dict.",
            where=str(path),
            fix="save it with torch.save(module.state_dict(), …)",
        )
    return found


def fill(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a state dict strictly.

    Raises:
        SourceError: keys are missing or unknown, or shapes differ; all of them are listed.
    """
    own = module.state_dict()
    shapes = [
        f"{key}: file {list(value.shape)}, module {list(own[key].shape)}"
        for key, value in state.items()
        if key in own and isinstance(own[key], Tensor) and own[key].shape != value.shape
    ]
    problems = _listed("other shape", shapes)
    if not shapes:
        result = module.load_state_dict(dict(state), strict=False)
        problems += _listed("missing in the file", result.missing_keys)
        problems += _listed("unknown to the module", result.unexpected_keys)
    if problems:
        raise SourceError(
            f"The weights in {path.name} do not belong to {type(module).__name__}.\n  " + "\n  ".join(problems),
            where=str(path),
            fix="give the architecture with the arguments it was trained with",
        )


def _listed(title: str, rows: list[str]) -> list[str]:
    if not rows:
        return []
    more = f" … and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else ""
    return [f"{title} ({len(rows)}): {'; '.join(rows[:_SHOWN])}{more}"]


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as exc:
        raise SourceError(
            f"{path.name} is damaged or no safetensors file: {exc}.", where=str(path), fix="save or copy it again"
        ) from exc


def _unwrap(content: Any) -> dict[str, Tensor] | None:
    """The state dict itself, or the one under a usual key; the `module.` of DataParallel is taken off."""
    if not isinstance(content, Mapping):
        return None
    for key in _WRAPPERS:
        if isinstance(content.get(key), Mapping):
            return _unwrap(content[key])
    if not content or not all(isinstance(key, str) for key in content):
        return None
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        return None
    if all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    return tensors
