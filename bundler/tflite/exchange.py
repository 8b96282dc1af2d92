"""The folder through which a build and its TFLite process talk (`bundler.tflite.worker`).

    saved_model/                the model with static shapes
    draws/N.npz                 inputs by name, in the served order
    samples/N.npz               calibration calls, for int8
    at                          variant and step at hand: `int8 converting`, `int8 running`
    <variant>.tflite            what was made
    <variant>.outputs/N.npz     what it answered to each draw
    <variant>.json              latencies or the error; written last
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bundler import child
from bundler.errors import TfliteError

Array = npt.NDArray[Any]

_WORKER = "bundler.tflite.worker"
_PREFIX = "tensor/"  # so that no tensor's name can be a parameter of numpy.savez


@dataclass(frozen=True)
class Made:
    """A .tflite file that was converted and run.

    Attributes:
        outputs: by name, for each draw.
        latency_ms: median milliseconds of a call, by number of threads.
    """

    path: Path
    outputs: tuple[dict[str, Array], ...]
    latency_ms: dict[int, float]


class ConverterReportError(Exception):
    """TensorFlow's whole report, as the cause of a TfliteError; `--debug` shows it."""


def save_calls(folder: Path, calls: Iterable[Mapping[str, Array]]) -> None:
    """Write calls, arrays by tensor name, into the new folder."""
    folder.mkdir()
    for index, call in enumerate(calls):
        named: dict[str, Any] = {_PREFIX + name: array for name, array in call.items()}
        np.savez(folder / f"{index}.npz", **named)


def load_calls(folder: Path) -> Iterator[dict[str, Array]]:
    """Read what `save_calls` wrote, in order."""
    for index in range(len(list(folder.iterdir()))):
        with np.load(folder / f"{index}.npz", allow_pickle=False) as data:
            yield {key.removeprefix(_PREFIX): data[key] for key in data.files}


def make_all(work: Path, variants: Sequence[str]) -> dict[str, Made | TfliteError]:
    """Have each variant made, in the given order; a variant that ends the process does not keep the next from it."""
    log, waiting = work / "worker.log", list(variants)
    results: dict[str, Made | TfliteError] = {}
    while waiting:
        status = child.run_module(_WORKER, [str(work), *waiting], log)
        while waiting and (work / f"{waiting[0]}.json").exists():
            variant = waiting.pop(0)
            results[variant] = _result(work, variant)
        if waiting:
            variant = waiting.pop(0)
            results[variant] = _crash(work, variant, child.how_it_ended(status, log), child.was_killed(status))
    return results


def _result(work: Path, variant: str) -> Made | TfliteError:
    answer = json.loads((work / f"{variant}.json").read_text("utf-8"))
    if "error" in answer:
        error = TfliteError(answer["error"]["what"], where=answer["error"]["where"], fix=answer["error"]["fix"])
        error.__cause__ = ConverterReportError(answer["report"])
        return error
    outputs = tuple(load_calls(work / f"{variant}.outputs"))
    latency = {int(threads): float(ms) for threads, ms in answer["latency_ms"].items()}
    return Made(work / f"{variant}.tflite", outputs, latency)


def _crash(work: Path, variant: str, ended: str, killed: bool) -> TfliteError:
    at = work / "at"
    step = at.read_text("utf-8") if at.exists() else ""
    doing = "LiteRT, running" if step == f"{variant} running" else "TensorFlow's TFLite converter, making"
    fix = f"leave {variant} out of --tflite"
    if killed:
        fix = f"free memory and try again, or {fix}"
    elif variant == "int8":
        fix += "; recurrent layers are known to break TensorFlow's int8 quantizer"
    return TfliteError(f"The process of {doing} the {variant} file, {ended}", fix=fix)


def move(made: Made, target: Path) -> None:
    """Bring the file to its place."""
    shutil.move(made.path, target)
