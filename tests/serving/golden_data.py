"""Golden data of the models of `small_server`, computed independently."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np

from serving.golden.data import Golden, GoldenCase
from serving.smoke.run import GoldenFile

ECHOED = ("float32", "float16", "bfloat16", "int64", "bool", "string", "complex64")


def affine(version: int) -> Golden:
    """Return the answers of `affine` with weight 1 for batches of 1 and 4."""
    rng = np.random.default_rng(version)

    def case(batch: int) -> GoldenCase:
        x = rng.normal(size=(batch, 3)).astype(np.float32)
        y = (x.astype(np.float64) * (version + 1) + 1).astype(np.float32)
        return GoldenCase("serving_default", f"batch-{batch}", {"x": x}, {"y": y, "total": y.sum(axis=1)})

    return Golden("affine", 1e-5, (case(1), case(4)))


def echo() -> Golden:
    """Return one call per dtype of `echo`; REST cannot carry all of them."""
    cases = []
    for dtype in ECHOED:
        values = np.array([["a", "ä"]]) if dtype == "string" else np.array([[0, 1], [1, 1]]).astype(_numpy(dtype))
        if dtype == "bfloat16":
            values = values.view(np.uint16)
        cases.append(GoldenCase(f"echo_{dtype}", "one", {"x": values}, {"y": values}))
    bfloat16_keys = tuple(f"echo_bfloat16/one/{side}" for side in ("in/x", "out/y"))
    return Golden("echo", 1e-6, tuple(cases), bfloat16_keys)


def _numpy(dtype: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def save(folder: Path, golden: Golden, version: int) -> GoldenFile:
    path = folder / golden.model / f"{version}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    golden.save(path)
    return GoldenFile(golden.model, version, path)
