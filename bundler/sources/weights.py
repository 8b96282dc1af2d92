"""Reads weights files, and loads them into a module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bundler.errors import SourceError
from bundler.sources.files import file_provenance, find_file
from bundler.sources.pickles import load_torch

_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training frameworks store the state dict in a checkpoint."""

_MOST_LISTED = 8


def load_weights(module: nn.Module, weights: str, base: Path, *, trust: bool) -> dict[str, Any]:
    """Load a state dict file into a module.

    Args:
        module: the module, which is changed in place.
        weights: the file, as the user names it.
        base: the folder that a relative path starts from.
        trust: whether to unpickle content that can run code.

    Returns:
        The provenance of the file.

    Raises:
        SourceError: the file is damaged, or does not belong to the module.
    """
    path = find_file(weights, base, what="The weights file")
    content = read_weights(path, trust=trust)
    fill(module, content.state_dict() if isinstance(content, nn.Module) else content, path)
    return file_provenance(path)


def read_weights(path: Path, *, trust: bool) -> dict[str, Tensor] | nn.Module:
    """Return the state dict in a file or checkpoint, or the whole module in a trusted pickle.

    Args:
        path: the file.
        trust: whether to unpickle content that can run code.

    Raises:
        SourceError: the file is damaged, unsafe, or contains no state dict.
    """
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    content = load_torch(path, trust=trust)
    if isinstance(content, nn.Module):
        return content
    state = _unwrap(content)
    if state is None:
        keys = ", ".join(map(str, list(content)[:_MOST_LISTED])) if isinstance(content, dict) else ""
        raise SourceError(
            f"{path.name} contains a {type(content).__name__}{f' with the keys {keys}' if keys else ''}, not a state dict.",
            where=str(path),
            fix="save it with torch.save(module.state_dict(), …)",
            code="TFB2102",
        )
    return state


def fill(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a state dict into a module. All keys and shapes must match.

    Args:
        module: the module, which is changed in place.
        state: the state dict.
        path: the file that it comes from, for the message.

    Raises:
        SourceError: keys are missing or unknown, or shapes differ; the message lists them.
    """
    expected = module.state_dict()
    shapes = [
        f"{key}: file {list(value.shape)}, module {list(expected[key].shape)}"
        for key, value in state.items()
        if key in expected and isinstance(expected[key], Tensor) and expected[key].shape != value.shape
    ]
    problems = _listed("different shape", shapes)
    if not shapes:
        result = module.load_state_dict(dict(state), strict=False)
        problems += _listed("missing in the file", result.missing_keys)
        problems += _listed("not in the module", result.unexpected_keys)
    if problems:
        raise SourceError(
            f"The weights in {path.name} do not belong to {type(module).__name__}.\n  " + "\n  ".join(problems),
            where=str(path),
            fix="create the architecture with the same arguments as for training",
            code="TFB2103",
        )


def _listed(title: str, rows: list[str]) -> list[str]:
    if not rows:
        return []
    more = f" … and {len(rows) - _MOST_LISTED} more" if len(rows) > _MOST_LISTED else ""
    return [f"{title} ({len(rows)}): {'; '.join(rows[:_MOST_LISTED])}{more}"]


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as exc:
        raise SourceError(
            f"{path.name} is damaged, or is not a safetensors file: {exc}.",
            where=str(path),
            fix="save or copy it again",
            code="TFB2104",
        ) from exc


def _unwrap(content: Any) -> dict[str, Tensor] | None:
    """Return the state dict itself or the one under a usual key, without the `module.` of DataParallel, or None."""
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
