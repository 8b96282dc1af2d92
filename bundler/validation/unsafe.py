"""Parts of a bundle that do more than compute when they are run, read from the files and not from bundle.json."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bundler.bundle.layout import BundleLayout
from bundler.bundle.reader import BundleReader
from bundler.errors import UnsafeModelError
from bundler.process.causes import cause_of
from serving.protocol.saved_model_safety import unsafe_uses
from serving.protocol.tflite_file import MODEL_FILE
from serving.protocol.tflite_safety import unsafe_tflite_uses
from serving.protocol.unsafe_ops import UnsafeUse, shown

_SHOWN = 8


class _UnreadableModel(UnsafeUse):
    """A model that may do anything, as it is damaged."""


@dataclass(frozen=True)
class UnsafePart:
    """A model file or folder of a bundle with one thing that it does besides computing.

    Attributes:
        path: relative to the bundle's root.
        use: what it does.
    """

    path: str
    use: UnsafeUse

    @property
    def is_unreadable(self) -> bool:
        """Whether nobody knows what it does, as it is damaged."""
        return isinstance(self.use, _UnreadableModel)

    def __str__(self) -> str:
        return f"{self.path}: {self.use}"


def unsafe_parts(
    layout: BundleLayout, model: str, version: int, *, served: bool = True, tflite: bool = True
) -> Iterator[UnsafePart]:
    """Yield what the models of a version do besides computing.

    Missing files are left out; `Bundle.verify` names them.

    Args:
        layout: the paths of the bundle.
        model: the model's name.
        version: the version's number.
        served: whether to look at what a server loads: the SavedModel and the model.tflite beside it.
        tflite: whether to look at the TFLite variants.
    """
    folder = layout.version_dir(model, version)
    files = [path for path in layout.tflite_dir(model, version).rglob("*") if path.is_file()] if tflite else []
    if served:
        files.append(folder / MODEL_FILE)
        yield from (UnsafePart(layout.relative(folder), use) for use in saved_model_uses(folder))
    for path in sorted(files):
        yield from (UnsafePart(layout.relative(path), use) for use in tflite_uses(path))


def saved_model_uses(folder: Path) -> list[UnsafeUse]:
    """Return what a SavedModel does besides computing. One that is damaged counts, too, as nobody knows what it does."""
    try:
        return unsafe_uses(folder)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as exc:
        return [_unreadable("the SavedModel", exc)]


def tflite_uses(path: Path) -> list[UnsafeUse]:
    """Return what a .tflite file does besides computing. One that is damaged counts, too, as nobody knows what it does."""
    try:
        return unsafe_tflite_uses(path.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as exc:
        return [_unreadable("the file", exc)]


def _unreadable(what: str, exc: Exception) -> _UnreadableModel:
    return _UnreadableModel(what, f"cannot be checked: {shown(cause_of(exc))}")


def refuse_unsafe(
    bundle: BundleReader, versions: Mapping[str, Collection[int]], *, served: bool = True, tflite: bool = False
) -> None:
    """Raise if a version does more than compute.

    Args:
        bundle: the bundle.
        versions: the versions that are to be run, by model.
        served: whether they are to be served.
        tflite: whether their TFLite variants are to be run.

    Raises:
        UnsafeModelError: a version does; the message names the operators.
    """
    found = [
        str(part)
        for model, numbers in versions.items()
        for number in numbers
        for part in unsafe_parts(bundle.layout, model, number, served=served, tflite=tflite)
    ]
    if found:
        raise unsafe_model(found, where=str(bundle.path))


def unsafe_model(found: Collection[str], *, where: str) -> UnsafeModelError:
    """Return the error for a model that does more than compute.

    Args:
        found: what it does.
        where: its file or folder.
    """
    lines = list(found)
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return UnsafeModelError(
        "The model does more than compute and was not run:" + "".join(f"\n  {line}" for line in (*lines[:_SHOWN], *more)),
        where=where,
        fix="if you trust whoever made it, repeat the command with --allow-unsafe-ops",
    )
