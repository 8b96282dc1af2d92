"""The process that runs a SavedModel in lower precision beside the one in float32.

`python -m bundler.validation.precision_worker WORK` is a separate process, because a kernel may crash it. WORK contains

    setup.json      the two SavedModels, whether the second one runs with --mixed_precision=bfloat16, and each call's signature
    draws/N.npz     inputs by name, in the served order of axes

Both run in a session, as in a model server. The process writes outputs/N.npz, those of the second one, and, last, result.json:
the milliseconds of a call by batch size, `float32` and `bfloat16`, or the error. Its exit status is 0 unless it crashes.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bundler.process import garbage
from bundler.tflite.exchange import load_calls, save_calls
from bundler.values.arrays import Array
from serving.imports import leave_keras_out
from serving.protocol.status import StatusError

ROUNDS, SECONDS = 15, 10.0
"""Calls of each model for a batch size, and the time after which no further ones begin."""
BATCHES = (1, 8)

Call = Callable[[Mapping[str, Array]], dict[str, Array]]


def main(work: Path) -> int:
    """Run the models, and write the result or the error to result.json; return the exit status."""
    garbage.collect_seldom()
    try:
        result: dict[str, Any] = {"latency_ms": _measure(work)}
    except StatusError as exc:
        result = {"error": exc.message}
    (work / "result.json").write_text(json.dumps(result), "utf-8")
    return 0


def _measure(work: Path) -> dict[str, dict[str, float]]:
    from serving.server.servables.saved_model import SavedModelServable, SessionOptions

    setup = json.loads((work / "setup.json").read_text("utf-8"))
    options = SessionOptions(allow_unsafe_ops=True)
    mixed = SessionOptions(allow_unsafe_ops=True, mixed_precision="bfloat16" if setup["mixed"] else "")
    lower = SavedModelServable.load(setup["lower"], mixed)
    calls = list(load_calls(work / "draws"))
    answers = [_run(lower, name)(call) for name, call in zip(setup["signatures"], calls, strict=True)]
    save_calls(work / "outputs", answers)
    base = SavedModelServable.load(setup["base"], options)
    models = {"float32": _run(base, setup["signatures"][0]), "bfloat16": _run(lower, setup["signatures"][0])}
    times: dict[str, dict[str, float]] = {name: {} for name in models}
    for batch in BATCHES:
        call = _with_rows(calls[0], setup["batch_axes"], batch)
        if call is None:
            continue
        try:
            figures = _in_turns(models, call)
        except StatusError:  # the model does not take such a batch
            continue
        for name, milliseconds in figures.items():
            times[name][str(batch)] = milliseconds
    return times


def _run(servable: Any, signature: str) -> Call:
    from serving.server.methods.predict import run_signature

    return lambda call: dict(run_signature(servable, signature, call, read=call.__getitem__))


def _with_rows(call: Mapping[str, Array], axes: Mapping[str, int], rows: int) -> dict[str, Array] | None:
    """Return the call with so many rows, which repeat those that it has; None if the batch size is fixed to another number."""
    if not axes:
        return dict(call) if rows == BATCHES[0] else None
    return {
        name: np.take(array, np.arange(rows) % max(array.shape[axes[name]], 1), axes[name]) if name in axes else array
        for name, array in call.items()
    }


def _in_turns(models: Mapping[str, Call], call: Mapping[str, Array]) -> dict[str, float]:
    """Return the median milliseconds of a call of each model; they take turns, so that a disturbance affects both."""
    figures: dict[str, list[float]] = {name: [] for name in models}
    for run in models.values():
        run(call)
    deadline = time.perf_counter() + SECONDS
    for number in range(ROUNDS):
        if number > 2 and time.perf_counter() > deadline:
            break
        for name, run in models.items():
            begin = time.perf_counter()
            run(call)
            figures[name].append((time.perf_counter() - begin) * 1e3)
    return {name: statistics.median(values) for name, values in figures.items()}


if __name__ == "__main__":
    arguments: Sequence[str] = sys.argv[1:]
    leave_keras_out()
    sys.exit(main(Path(arguments[0])))
