"""Loads SavedModels and compares their answers with recorded ones: `python load.py FOLDER`, which prints JSON.

FOLDER is written by `benchmarks.compat.saved_models`. This file is run by itself in environments of TensorFlow 2.12 and newer, so
it imports nothing but TensorFlow and NumPy.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


def relative_error(want, got):
    """Return the largest |got - want| / max(|want|, rms(want)); inf if the tensors cannot be compared."""
    if want.dtype != got.dtype or want.shape != got.shape:
        return float("inf")
    if want.dtype.kind not in "fV":
        return 0.0 if np.array_equal(want, got) else float("inf")
    want, got = want.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(want)
    if not np.array_equal(finite, np.isfinite(got)):
        return float("inf")
    want, got = want[finite], got[finite]
    if not want.size:
        return 0.0
    scale = np.maximum(np.abs(want), np.sqrt(np.mean(want**2)))
    return float(np.max(np.abs(got - want) / np.where(scale == 0, 1, scale)))


def error_of(folder):
    """Return the largest relative error of a model over all its recorded cases."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / "1"))
    worst = 0.0
    for path in sorted(folder.glob("*.npz")):
        signature = loaded.signatures[path.name.partition("-")[0]]
        data = np.load(path)
        inputs = {k[3:]: tf.constant(v) for k, v in data.items() if k.startswith("in/")}
        wanted = {k[4:]: v for k, v in data.items() if k.startswith("out/")}
        got = {k: v.numpy() for k, v in signature(**inputs).items()}
        if set(got) != set(wanted):
            return float("inf")
        worst = max([worst, *(relative_error(wanted[k], got[k]) for k in wanted)])
    return worst


def load(folders):
    """Print a line of JSON for each model, before and after it is loaded."""
    for folder in folders:
        print(json.dumps([folder.name, "crashed"]), flush=True)
        try:
            result = error_of(folder)
        except Exception as exc:  # noqa: BLE001 - the table names the first line of whatever TensorFlow raises
            result = f"{type(exc).__name__}: {str(exc).strip().splitlines()[0] if str(exc).strip() else ''}"
        print(json.dumps([folder.name, result]), flush=True)


def main():
    """Load all models in a child process, which is started again behind a model that ends it."""
    folders = sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir())
    if len(sys.argv) > 2:
        load([folder for folder in folders if folder.name >= sys.argv[2]])
        return
    results = {}
    start = time.time()
    while len(results) < len(folders):
        command = [sys.executable, __file__, sys.argv[1], folders[len(results)].name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            results.update(json.loads(line) for line in child.stdout if line.startswith("["))
    print(json.dumps({"seconds": round(time.time() - start, 1), "models": results}))


if __name__ == "__main__":
    main()
