"""Runs cases of the sweep in a process that may crash, and writes what came of each to a file, line by line.

    python -m tests.zero_sweep.worker CASES RESULTS

CASES is a pickled list of (case, first feed, whether to ask ONNX Runtime), as ONNX's node tests take seconds to make. Before
anything that may crash, the worker writes that it begins.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO, TypeAlias

import numpy as np

from bundler.errors import ConversionError
from tests.zero_sweep.cases import Arrays, SweepCase

Witness: TypeAlias = "Callable[[Arrays], Sequence[Any]]"

RTOL, ATOL = 1e-3, 1e-5
"""Tolerances of ONNX's node tests."""


class Journal:
    """The file of results."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, **record: Any) -> None:
        """Write a line, so that it survives the end of the process."""
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()


def main(cases: Path, results: Path) -> None:
    """Run the cases."""
    with results.open("a") as file:
        for case, first, runtime in pickle.loads(cases.read_bytes()):
            run_case(case, first, Journal(file), runtime=runtime)


def run_case(case: SweepCase, first: int, journal: Journal, *, runtime: bool = True) -> None:
    """Run a case from this feed on: first the witnesses, then the engine.

    Args:
        case: the case.
        first: the first feed.
        journal: the file of results.
        runtime: whether ONNX Runtime is a witness; for some feeds it ends the process.
    """
    journal.write(case=case.name, feed=first, phase="witness")
    witnesses = _witnesses(case, runtime=runtime)
    journal.write(case=case.name, feed=first, phase="convert")
    try:
        answer = _engine(case)
    except ConversionError as exc:
        journal.write(case=case.name, outcome="not converted", text=" ".join(str(exc).split())[:300])
        return
    for index in range(first, len(case.feeds)):
        feed = case.feeds[index]
        journal.write(case=case.name, feed=index, phase="witness")
        wanted = {"page": case.expected[index]} if case.expected is not None else _answers(witnesses, feed)
        journal.write(case=case.name, feed=index, phase="run")
        journal.write(case=case.name, feed=index, **_judged(answer, feed, wanted))
    journal.write(case=case.name, outcome="done")


def _judged(answer: Callable[[Arrays], list[Any]], feed: Arrays, wanted: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    import tensorflow as tf

    try:
        actual = answer(feed)
    except tf.errors.OpError as exc:
        kind = "refused by all" if not wanted else "refused"
        text = f"{type(exc).__name__}: {_what_failed(exc.message)}"
        return {"outcome": kind, "text": text, "by": ", ".join(wanted)}
    if not wanted:
        return {"outcome": "unwitnessed", "text": "answers " + ", ".join(str(list(a.shape)) for a in actual)}
    problems = [_difference(actual, outputs) for outputs in wanted.values()]
    if None in problems:
        return {"outcome": "right"}
    return {"outcome": "wrong", "text": str(problems[0]), "by": ", ".join(wanted)}


def _what_failed(message: str) -> str:
    """Return the lines of a kernel's error that say what is wrong, without the trace of where the node was made."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    start = next((i for i, line in enumerate(lines) if line.startswith("[[{{node")), len(lines))
    return " ".join(lines[max(start - 1, 0) : start + 1])[:200]


def _difference(actual: Sequence[Any], wanted: Sequence[Any]) -> str | None:
    from tests.conformance.runner import assert_equal

    try:
        for a, w in zip(actual, wanted, strict=True):
            assert_equal(a, w, rtol=RTOL, atol=ATOL)
    except AssertionError as exc:
        return " ".join(str(exc).split())[:300]
    return None


def _engine(case: SweepCase) -> Callable[[Arrays], list[Any]]:
    from bundler.converters.native.model import NativeModel
    from bundler.graph.load import from_proto
    from bundler.graph.normalize import normalize
    from tests.conformance.runner import _numpy

    model = NativeModel({"serving_default": normalize(from_proto(case.model))})
    names = [o.name for o in case.model.graph.output]

    def answer(feed: Arrays) -> list[Any]:
        outputs = model(**{s.name: feed[s.name] for s in model.signature.inputs})
        return [_numpy(outputs[name]) for name in names]

    return answer


def _witnesses(case: SweepCase, *, runtime: bool) -> dict[str, Witness]:
    """Return ONNX Runtime and ONNX's reference."""
    import onnxruntime
    from onnx.reference import ReferenceEvaluator

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    found = {"reference": _witness(lambda: ReferenceEvaluator(case.model))}
    if runtime:
        found["runtime"] = _witness(lambda: onnxruntime.InferenceSession(case.model.SerializeToString(), options))
    return found


def _witness(make: Callable[[], Any]) -> Witness:
    made: list[Any] = []

    def answer(feed: Arrays) -> Sequence[Any]:
        if not made:
            made.append(make())
        outputs: Sequence[Any] = made[0].run(None, dict(feed))
        return outputs

    return answer


def _answers(witnesses: Mapping[str, Witness], feed: Arrays) -> dict[str, Sequence[Any]]:
    answers = {}
    for name, witness in witnesses.items():
        try:
            with np.errstate(all="ignore"):
                answers[name] = [np.asarray(a) for a in witness(feed)]
        except Exception:  # noqa: BLE001 (it has no kernel, or no answer)
            continue
    return answers


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
