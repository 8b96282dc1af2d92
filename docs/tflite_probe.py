"""Asks an installed TFLite runtime what it accepts. It runs in that runtime's own environment, and needs only NumPy beside it.

    python docs/tflite_probe.py PACKAGE versions FOLDER     # ops.json: the versions of each operator
    python docs/tflite_probe.py PACKAGE cases FOLDER        # NAME.json and NAME.npz of each NAME.tflite that has no NAME.json

In `versions`, FOLDER has OPERATOR-VERSION.tflite files without nodes: a runtime refuses a version that it does not register. In
`cases`, each file is run, with the name of the file under way in the file `at`, because kernels can crash.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def versions(interpreter: Callable[..., Any], folder: Path) -> None:
    """Write ops.json: the accepted versions by operator."""
    ops: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*.tflite")):
        name, _, version = path.stem.rpartition("-")
        try:
            interpreter(model_path=str(path))
        except ValueError:
            continue
        ops.setdefault(name, []).append(int(version))
    (folder / "ops.json").write_text(json.dumps({name: sorted(found) for name, found in ops.items()}))


def cases(interpreter: Callable[..., Any], folder: Path) -> None:
    """Run the files that were not run yet."""
    for path in sorted(folder.glob("*.tflite")):
        if path.with_suffix(".json").exists():
            continue
        (folder / "at").write_text(path.stem)
        try:
            outputs, problem = answer(interpreter(model_path=str(path))), None
        except (ValueError, RuntimeError) as exc:
            outputs, problem = [], str(exc)
        np.savez(path.with_suffix(".npz"), *outputs)
        path.with_suffix(".json").write_text(json.dumps({"problem": problem}))


def answer(model: Any) -> list[Any]:
    """Return the outputs for small numbers."""
    model.allocate_tensors()
    for detail in model.get_input_details():
        count = int(np.prod(detail["shape"]))
        numbers = np.arange(count) * 7 % 5 + 1 if np.dtype(detail["dtype"]).kind == "f" else np.arange(count) % 2
        model.set_tensor(detail["index"], numbers.reshape(detail["shape"]).astype(detail["dtype"]))
    model.invoke()
    return [model.get_tensor(detail["index"]) for detail in model.get_output_details()]


if __name__ == "__main__":
    task = {"versions": versions, "cases": cases}[sys.argv[2]]
    task(importlib.import_module(f"{sys.argv[1]}.interpreter").Interpreter, Path(sys.argv[3]))
