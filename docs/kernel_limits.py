"""Writes docs/kernel_limits.md: how many axes and which dtypes TensorFlow's and LiteRT's kernels take.

    python -m docs.kernel_limits > docs/kernel_limits.md

Every kernel of `docs.kernel_probes` is called in worker processes, which may crash: TensorFlow without and with oneDNN, and
LiteRT.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from docs.kernel_probes import DTYPES, MOST_AXES, Probe, probes
from serving.imports import leave_keras_out

RUNTIMES: Mapping[str, Mapping[str, str]] = {
    "TensorFlow": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "1"},
    "LiteRT": {"TF_ENABLE_ONEDNN_OPTS": "0"},
}
"""Name -> the environment of its worker."""

Call = tuple[str, int, str]
"""Kernel, rank and dtype."""

COMPARED = ("float32", "float64", "int32", "int64")
"""The dtypes whose results are compared with NumPy's; others overflow or round."""


def calls(table: Mapping[str, Probe], *, with_dtypes: bool) -> Iterator[list[Call]]:
    """Return the calls in groups of which no more is of interest once one succeeds: the ranks of a kernel, or a dtype."""
    for name, probe in table.items():
        yield [(name, rank, "float32") for rank in sorted(probe.ranks, reverse=True)]
        if with_dtypes:
            yield from ([(name, probe.rank, dtype)] for dtype in DTYPES)


def answer(probe: Probe, rank: int, dtype: str, *, litert: bool) -> str:
    """Return `right`, `wrong`, or `refused`."""
    import tensorflow as tf

    arrays = list(probe.inputs(rank))
    tensors = [_typed(array, dtype if position < probe.typed else "int32") for position, array in enumerate(arrays)]
    try:
        got = _by_litert(probe, tensors) if litert else _by_tensorflow(probe, tensors)
    except (tf.errors.OpError, TypeError, ValueError, RuntimeError, NotImplementedError):
        return "refused"
    if probe.expected is None or dtype not in COMPARED:
        return "right"
    wanted = np.asarray(probe.expected(*arrays)).astype(got.dtype)
    return "right" if got.shape == wanted.shape and np.allclose(got, wanted, rtol=1e-4, atol=1e-5) else "wrong"


def _typed(array: Any, dtype: str) -> Any:
    import tensorflow as tf

    if dtype == "string":
        return tf.constant(np.asarray(array).astype(str).astype(object))
    if np.asarray(array).dtype == np.bool_:
        return tf.constant(array)
    return tf.cast(tf.constant(array), tf.as_dtype(dtype))


def _by_tensorflow(probe: Probe, tensors: Sequence[Any]) -> Any:
    """Call the kernel in a graph that knows no sizes."""
    import tensorflow as tf

    specs = [tf.TensorSpec([None] * x.shape.rank, x.dtype) for x in tensors]
    return tf.function(probe.call, autograph=False).get_concrete_function(*specs)(*tensors).numpy()


def _by_litert(probe: Probe, tensors: Sequence[Any]) -> Any:
    """Call the kernel in a .tflite file of builtin operators."""
    import tensorflow as tf

    from bundler.errors import TfliteError
    from bundler.tflite.runner import TfliteModel
    from bundler.tflite.variants import convert, write_static

    names = [f"x{i}" for i in range(len(tensors))]
    specs = [tf.TensorSpec(x.shape, x.dtype, name=name) for x, name in zip(tensors, names, strict=True)]
    function = tf.function(lambda *x: {"y": probe.call(*x)}, autograph=False).get_concrete_function(*specs)
    try:
        with tempfile.TemporaryDirectory() as folder:
            write_static(function, names, Path(folder) / "model")
            file = Path(folder) / "model.tflite"
            file.write_bytes(convert(Path(folder) / "model", "float32"))
            return TfliteModel(file)({name: x.numpy() for name, x in zip(names, tensors, strict=True)})["y"]
    except TfliteError as exc:
        raise ValueError(str(exc)) from exc


def serve(runtime: str) -> None:
    """Answer calls, one JSON list per line of standard input, until it ends."""
    leave_keras_out()
    table = probes()
    for line in sys.stdin:
        name, rank, dtype = json.loads(line)
        print("answer:" + answer(table[name], rank, dtype, litert=runtime == "LiteRT"), flush=True)


class _Worker:
    """A process that answers calls; after a crash it is started again."""

    def __init__(self, runtime: str) -> None:
        self._runtime = runtime
        self._process: subprocess.Popen[str] | None = None

    def answer(self, call: Call) -> str:
        """Return `right`, `wrong`, `refused` or `crash`."""
        process = self._process or self._started()
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(call) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                if line.startswith("answer:"):
                    return line.strip().removeprefix("answer:")
        self.stop()
        return "crash"

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(BrokenPipeError):  # the last call may still be in the buffer
                self._process.communicate()
        self._process = None

    def _started(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **RUNTIMES[self._runtime]}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "docs.kernel_limits", "--serve", self._runtime],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip
        return self._process


def measure(runtime: str, groups: Iterable[list[Call]]) -> dict[Call, str]:
    """Return the answers of a runtime; a group ends with its first right one."""
    worker, answers = _Worker(runtime), {}
    try:
        for group in groups:
            for call in group:
                answers[call] = worker.answer(call)
                if answers[call] == "right":
                    break
    finally:
        worker.stop()
    return answers


def axes(answers: Mapping[Call, str], name: str, ranks: Sequence[int]) -> str:
    """Return the most axes for which a kernel is right, and what it does with one more."""
    right = [rank for rank in ranks if answers.get((name, rank, "float32")) == "right"]
    if not right:
        return "none"
    most = max(right)
    if most == max(ranks):
        return "any" if most == MOST_AXES else str(most)
    return f"{most} ({most + 1}: {answers[name, most + 1, 'float32']})"


def table(answers: Mapping[str, Mapping[Call, str]]) -> str:
    """Return the tables of the page."""
    lines = ["| kernel | TensorFlow | with oneDNN | LiteRT |", "|---|---|---|---|"]
    kernels = probes()
    for name, probe in kernels.items():
        cells = [axes(answers[runtime], name, sorted(probe.ranks)) for runtime in RUNTIMES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "## Dtypes", "", "| kernel | TensorFlow refuses | with oneDNN |", "|---|---|---|"]
    for name, probe in kernels.items():
        refused = [
            [d for d in DTYPES if answers[r].get((name, probe.rank, d)) != "right"] for r in ("TensorFlow", "oneDNN")
        ]
        cells = [
            ", ".join(refused[0]) or "none",
            "the same" if refused[0] == refused[1] else ", ".join(refused[1]) or "none",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


INTRODUCTION = """# What TensorFlow's and LiteRT's kernels take

Written by `python -m docs.kernel_limits > docs/kernel_limits.md`, which calls kernels that the engine uses: in TensorFlow
{version} on the CPU, without and with oneDNN (`TF_ENABLE_ONEDNN_OPTS`), and in a .tflite file. TensorFlow uses oneDNN by
default on Linux with an x86 CPU that has AVX-512 VNNI, so the same SavedModel meets both.
`bundler/converters/native/ranks.py` merges neighbouring axes before a kernel that takes fewer than a tensor has, for TensorFlow
with and without oneDNN alike; handlers cast to a dtype that has a kernel.

## Axes

The most axes of float32 tensors, of up to nine; operands are broadcast, reduced, sliced, … along every other axis, because
TensorFlow merges axes that are treated alike. "any" is nine axes or more; in parentheses is what happens with one more."""


def main() -> None:
    """Print the page, or answer calls as a worker."""
    parser = argparse.ArgumentParser(prog="python -m docs.kernel_limits", description=__doc__)
    parser.add_argument("--serve", choices=list(RUNTIMES), help="answer calls from standard input")
    runtime = parser.parse_args().serve
    if runtime:
        serve(runtime)
        return
    from importlib.metadata import version

    answers = {name: measure(name, calls(probes(), with_dtypes=name != "LiteRT")) for name in RUNTIMES}
    print(INTRODUCTION.format(version=version("tensorflow")))
    print()
    print(table(answers))


if __name__ == "__main__":
    main()
