"""The refusal of models that do more than compute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from serving.protocol.saved_model_safety import outside_files, unsafe_uses
from serving.protocol.status import Code, RefusedModelError, StatusError
from serving.protocol.tflite_safety import unsafe_tflite_uses
from serving.protocol.unsafe_ops import UnsafeUse

_SHOWN = 8


def check_saved_model(path: str) -> None:
    """Raise if the SavedModel in a folder has operators that reach out of the graph, or files outside of the folder.

    Raises:
        RefusedModelError: PERMISSION_DENIED: it does.
        StatusError: OUT_OF_RANGE: the file does not parse; the text is the real server's.
    """
    try:
        uses = unsafe_uses(Path(path))
    except (OSError, ValueError) as exc:
        raise StatusError(Code.OUT_OF_RANGE, "Read less bytes than requested") from exc
    _refuse(uses)


def check_tflite(path: str, content: bytes) -> None:
    """Raise if a model.tflite has operators that reach out of the graph, or its folder has files outside of itself.

    Args:
        path: the version's folder.
        content: the bytes of the file.

    Raises:
        RefusedModelError: PERMISSION_DENIED: it does.
        ValueError: the bytes are not a .tflite file.
    """
    _refuse([*outside_files(Path(path)), *unsafe_tflite_uses(content)])


def _refuse(uses: Sequence[UnsafeUse]) -> None:
    if not uses:
        return
    shown = "; ".join(map(str, uses[:_SHOWN])) + (f"; and {len(uses) - _SHOWN} more" if len(uses) > _SHOWN else "")
    raise RefusedModelError(
        Code.PERMISSION_DENIED,
        f"The model does more than compute and was not loaded: {shown}. To load it all the same, if you trust its origin, "
        "start the server with --allow_unsafe_ops",
    )
