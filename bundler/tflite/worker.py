"""The process that TFLite files are converted and run in: `python -m bundler.tflite.worker WORK VARIANT…`.

A process of its own, as TensorFlow's quantizer and LiteRT's kernels can end the one they run in (a recurrent layer in
int8 does). WORK is the folder described in `bundler.tflite.exchange`. Exit status 0; anything else is a crash.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundler.errors import TfliteError
from bundler.tflite.exchange import load_calls, save_calls
from bundler.tflite.runner import TfliteModel, latency_ms
from bundler.tflite.variants import convert

THREADS = (1, 2)


def main(work: Path, variants: Sequence[str]) -> int:
    """Make each variant; a failure is a result like any other."""
    for variant in variants:
        try:
            result = _make(work, variant)
        except TfliteError as exc:
            result = {"error": {"what": exc.what, "where": exc.where, "fix": exc.fix}, "report": str(exc.__cause__ or exc)}
        (work / f"{variant}.json").write_text(json.dumps(result), "utf-8")
    return 0


def _make(work: Path, variant: Any) -> dict[str, Any]:
    at, path = work / "at", work / f"{variant}.tflite"
    at.write_text(f"{variant} converting", "utf-8")
    path.write_bytes(convert(work / "saved_model", variant, lambda: load_calls(work / "samples")))
    at.write_text(f"{variant} running", "utf-8")
    model = TfliteModel(path)
    draws = list(load_calls(work / "draws"))
    save_calls(work / f"{variant}.outputs", (model(inputs) for inputs in draws))
    return {"latency_ms": {threads: latency_ms(path, draws[0], threads) for threads in THREADS}}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
