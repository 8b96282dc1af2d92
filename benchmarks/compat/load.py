"""Loads SavedModels and compares their answers with recorded ones: `python load.py FOLDER`, which prints JSON.

FOLDER is written by `benchmarks.compat.saved_models`. This file is run by itself in environments of TensorFlow 2.12 and newer, so
it imports nothing but TensorFlow and NumPy.
"""

import json
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


def main():
    import tensorflow as tf

    results = {}
    start = time.time()
    for folder in sorted(p for p in Path(sys.argv[1]).iterdir() if p.is_dir()):
        try:
            results[folder.name] = error_of(folder)
        except Exception as exc:  # noqa: BLE001 - the table names the first line of whatever TensorFlow raises
            results[folder.name] = f"{type(exc).__name__}: {str(exc).strip().splitlines()[0] if str(exc).strip() else ''}"
    print(json.dumps({"tensorflow": tf.__version__, "seconds": round(time.time() - start, 1), "models": results}))


if __name__ == "__main__":
    main()
