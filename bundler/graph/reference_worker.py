"""Process that runs an .onnx file in onnx.reference: `python -m bundler.graph.reference_worker MODEL FOLDER`.

It reads the inputs from FOLDER/call.npz and writes the outputs to FOLDER/answer.npz, or the cause of a failure to FOLDER/error.
Arrays travel as plain NumPy arrays: the bits of types that NumPy lacks (bfloat16, float8), and text as Unicode arrays.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bundler.process.causes import cause_of
from bundler.values.arrays import Array

CALL, ANSWER, ERROR = "call.npz", "answer.npz", "error"

_NAMES = "names"


def main(arguments: list[str]) -> int:
    """Run the model once; return the exit status."""
    from onnx.reference import ReferenceEvaluator

    path, folder = Path(arguments[0]), Path(arguments[1])
    try:
        model = ReferenceEvaluator(str(path))
        known = set(model.input_names)
        feed = {name: array for name, array in unpack(folder / CALL).items() if name in known}
        outputs = model.run(None, feed)
        pack(folder / ANSWER, dict(zip(model.output_names, outputs, strict=True)))
    except Exception as exc:  # noqa: BLE001 (kernels in NumPy raise anything)
        (folder / ERROR).write_text(f"{type(exc).__name__}: {cause_of(exc)}", "utf-8")
        return 1
    return 0


def pack(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays by name to an .npz file that `unpack` reads."""
    stored: dict[str, Array] = {}
    kinds: list[tuple[str, str]] = []
    for number, (name, value) in enumerate(arrays.items()):
        array = np.asarray(value)
        kinds.append((name, array.dtype.name if array.dtype.kind not in "OUS" else "text"))
        if array.dtype.kind in "OS":
            texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in array.ravel().tolist()]
            array = np.array(texts, np.str_).reshape(array.shape)
        elif array.dtype.isbuiltin == 2:  # a type of ml_dtypes
            array = array.view(np.dtype(f"u{array.dtype.itemsize}"))
        stored[f"array{number}"] = array
    stored[_NAMES] = np.array(json.dumps(kinds))
    with path.open("wb") as file:
        np.savez(file, **stored)  # type: ignore[arg-type]


def unpack(path: Path) -> dict[str, Array]:
    """Return the arrays by name of a file that `pack` wrote; text as object arrays of str."""
    import ml_dtypes  # noqa: F401 (makes np.dtype("bfloat16") known)

    with np.load(path, allow_pickle=False) as data:
        kinds = json.loads(str(data[_NAMES]))
        return {name: _typed(data[f"array{number}"], kind) for number, (name, kind) in enumerate(kinds)}


def _typed(array: Array, kind: str) -> Array:
    if kind == "text":
        return array.astype(object)
    dtype = np.dtype(kind)
    return array if array.dtype == dtype else array.view(dtype)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
