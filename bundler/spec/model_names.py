"""Names of models that the user does not give: inferred from a source, or for each file that a pattern matches."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bundler.errors import SpecError, UsageError

_SUFFIXES = (".py", ".onnx", ".pt", ".pt2", ".pth", ".safetensors")
_STEM = "*"


def default_name(source: str) -> str:
    """Infer a model name from a source: `nets/digits.py:make` -> digits, `hf:org/mini-lm` -> mini-lm.

    Raises:
        UsageError: if the source has no part that can be a name.
    """
    scheme, _, rest = source.partition(":")
    path = rest if scheme in ("timm", "hf", "python") else scheme
    stem = Path(path.rstrip("/")).name
    if scheme != "timm" and Path(stem).suffix in _SUFFIXES:
        stem = Path(stem).stem
    name = re.sub(r"[^A-Za-z0-9_.\-]+", "-", stem).strip("-_.")
    name = re.sub(r"\.{2,}", ".", name)[:63]
    if not name:
        raise UsageError(
            f"Cannot infer a model name from the source {source!r}.", fix="give one with --name", code="TFB1003"
        )
    return name


def expand_patterns(data: Any, base: Path, where: str) -> tuple[Any, tuple[int, ...]]:
    """Replace each model whose source is a pattern, such as `exports/*.onnx`, by a model for each file that it matches.

    The models are in the order of their paths. Their name is that of the file without its suffix; a `*` in `name` stands for it.

    Args:
        data: the content of a bundle.yaml, which need not be valid.
        base: the folder that patterns start from.
        where: names the file in messages.

    Returns:
        The content without patterns, and for each model its place in the file.

    Raises:
        SpecError: a pattern matches no file.
    """
    models = data.get("models") if isinstance(data, Mapping) else None
    if not isinstance(models, list):
        return data, ()
    rows = [(place, model) for place, given in enumerate(models) for model in _expanded(given, base, f"{where}, models.{place}")]
    return {**data, "models": [model for _, model in rows]}, tuple(place for place, _ in rows)


def _expanded(model: Any, base: Path, where: str) -> Iterator[Any]:
    source = model.get("source") if isinstance(model, Mapping) else None
    if not isinstance(source, str) or not is_pattern(source, base):
        yield model
        return
    pattern, colon, function = source.rpartition(":") if ".py:" in source else (source, "", "")
    files = matching(pattern, base)
    if not files:
        raise SpecError(
            f"source: {source} matches no file.",
            where=where,
            fix=f"check the pattern, which starts from {base}, or give a file",
            code="TFB5206",
        )
    named = model.get("name", _STEM)
    for file in files:
        name = named.replace(_STEM, default_name(file)) if isinstance(named, str) else named
        yield {**model, "name": name, "source": f"{file}{colon}{function}"}


def matching(pattern: str, base: Path) -> list[str]:
    """Return the files that a pattern matches, sorted; relative to `base` as the pattern is."""
    anchor = Path(pattern).anchor
    root = Path(anchor) if anchor else base
    found = sorted(path for path in root.glob(pattern.removeprefix(anchor)) if path.is_file())
    return [str(path) if anchor else path.relative_to(base).as_posix() for path in found]


def is_pattern(text: str, base: Path) -> bool:
    """Return whether a text is a pattern for paths below `base`, and not itself the path of a file."""
    return glob.has_magic(text) and "\0" not in text and not (base / text).exists()
