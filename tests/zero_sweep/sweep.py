"""Runs the sweep in worker processes, and counts."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tests.zero_sweep.cases import find

TIMEOUT_S = 3600

MOST_CRASHES = 2
"""Crashes of a case after which its other feeds are left out."""

Start: TypeAlias = "tuple[str, int, bool]"
"""A case, its first feed, and whether ONNX Runtime is a witness."""


@dataclass(frozen=True)
class Outcome:
    """What came of one feed of a case.

    Attributes:
        case: the case's name.
        feed: the feed's number.
        kind: right, wrong, refused, refused by all (no witness has an answer either), unwitnessed (no witness has an answer, the
            engine has one), crash, or not converted.
        text: the error or difference.
        by: the witnesses that have an answer.
    """

    case: str
    feed: int
    kind: str
    text: str = ""
    by: str = ""


def run(names: Sequence[str], folder: Path, *, onednn: bool) -> list[Outcome]:
    """Run cases, starting a new process after one that dies."""
    todo: list[Start] = [(name, 0, True) for name in names]
    outcomes: list[Outcome] = []
    while todo:
        records = _run_worker(todo, folder, onednn=onednn)
        finished = {r["case"] for r in records if r.get("outcome") in ("done", "not converted")}
        outcomes += [_outcome(r) for r in records if r.get("outcome", "done") != "done"]
        todo = [start for start in todo if start[0] not in finished]
        if todo:
            case, feed, phase = (records[-1][key] for key in ("case", "feed", "phase"))
            if phase == "witness":
                todo[0] = (case, feed, False)
                continue
            outcomes.append(Outcome(case, feed, "crash", f"the process died ({phase})"))
            crashes = sum(o.case == case and o.kind == "crash" for o in outcomes)
            todo[:1] = [(case, feed + 1, todo[0][2])] if crashes < MOST_CRASHES else []
    return outcomes


def _outcome(record: dict[str, Any]) -> Outcome:
    return Outcome(
        record["case"], record.get("feed", -1), record["outcome"], record.get("text", ""), record.get("by", "")
    )


def _run_worker(todo: Sequence[Start], folder: Path, *, onednn: bool) -> list[dict[str, Any]]:
    cases, results = folder / "cases.pickle", folder / "results.jsonl"
    cases.write_bytes(pickle.dumps([(find(name), first, runtime) for name, first, runtime in todo]))
    results.write_text("")
    command = [sys.executable, "-m", "tests.zero_sweep.worker", str(cases), str(results)]
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": str(int(onednn)), "TF_CPP_MIN_LOG_LEVEL": "3"}
    with (folder / "log.txt").open("wb") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=log, timeout=TIMEOUT_S, check=False)
    records = [json.loads(line) for line in results.read_text().splitlines()]
    if not records or (done.returncode and "phase" not in records[-1]):
        raise RuntimeError(f"the worker failed: {(folder / 'log.txt').read_text()[-2000:]}")
    return records
