"""Runs `bundler.convert` and `bundler.build` on damaged ONNX files, each of which must be converted or rejected.

    python -m tests.fuzz.fuzzer --seconds 600 --seed 1 --out findings/

Anything else is a defect: a crash, another exception, more than 30 s or 4 GB, or a file read outside of the model's folder. The
offending file is written to `--out`. The same seed gives the same files.
"""

from __future__ import annotations

import argparse
import json
import random
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.fuzz.corpus import Seed, seeds
from tests.fuzz.mutations import mutate
from tests.fuzz.worker import SECONDS

ROOT = Path(__file__).resolve().parents[2]
_WALL_CLOCK_FACTOR = 8.0
"""A worker may take this many times the limit on the wall clock; processor seconds decide, since the machine may be busy."""

_INPUTS_PER_WORKER = 400
"""A worker is replaced after this many inputs, since TensorFlow keeps everything that it has traced."""


@dataclass(frozen=True)
class Finding:
    """A file that was neither converted nor rejected."""

    file: Path
    detail: str


@dataclass
class Outcome:
    """The result of a run of the fuzzer."""

    inputs: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    slowest: float = 0.0
    peak_mb: float = 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {name}" for name, n in self.counts.most_common())
        return f"{self.inputs} inputs: {counts}; slowest {self.slowest:.1f} s, peak {self.peak_mb:.0f} MB"


class Worker:
    """A process of `tests.fuzz.worker`."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._log, text=True,
        )  # fmt: skip
        self._path = log
        self.inputs = 0
        if self._answer(120.0) != "ready":
            raise RuntimeError(f"the worker does not start:\n{log.read_text('utf-8', 'replace')[-2000:]}")

    def convert(self, kind: str, path: Path) -> dict[str, Any]:
        """Convert a file and return the outcome; a crash of the process is a defect."""
        assert self._process.stdin is not None
        self.inputs += 1
        self._process.stdin.write(f"{kind} {path}\n")
        self._process.stdin.flush()
        line = self._answer(SECONDS)
        if line is None:
            limit = f"{SECONDS:.0f} s of processor time or {SECONDS * _WALL_CLOCK_FACTOR:.0f} s"
            detail = f"no answer after {limit}: {self._stacks()}"
        elif line == "":
            detail = f"the process ended with {self._process.wait()}: {self._last_lines()}"
        else:
            result: dict[str, Any] = json.loads(line)
            return result
        self.close()
        return {"outcome": "defect", "detail": detail, "seconds": 0.0, "peak_mb": 0}

    def _answer(self, seconds: float) -> str | None:
        """Return a line, '' if the process has ended, or None if it takes too long."""
        assert self._process.stdout is not None
        process = psutil.Process(self._process.pid)
        began, began_cpu = time.monotonic(), _cpu(process)
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not selector.select(0.5):
                if _cpu(process) - began_cpu > seconds or time.monotonic() - began > seconds * _WALL_CLOCK_FACTOR:
                    return None
            return self._process.stdout.readline().strip()

    def _stacks(self) -> str:
        """Return the stack of each thread of the process."""
        before = len(self._path.read_bytes())
        self._process.send_signal(signal.SIGUSR1)
        time.sleep(2.0)
        return self._path.read_bytes()[before:].decode("utf-8", "replace")[:6000]

    def _last_lines(self) -> str:
        lines = self._path.read_text("utf-8", "replace").splitlines()
        return " | ".join(lines[-4:])[-600:]

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def fuzz(seconds: float, *, seed: int, out: Path) -> Outcome:
    """Try damaged files for a number of seconds, and write the offending ones to `out`."""
    corpus, rng, outcome = seeds(), random.Random(seed), Outcome()
    preferred = corpus[:10]
    end = time.monotonic() + seconds
    worker: Worker | None = None
    with tempfile.TemporaryDirectory(prefix="tfbundle-fuzz-") as name:
        work = Path(name)
        while time.monotonic() < end:
            if worker is None or not worker.alive or worker.inputs >= _INPUTS_PER_WORKER:
                if worker is not None and worker.alive:
                    worker.close()
                worker = Worker(work / "worker.log")
            chosen = rng.choice(preferred) if rng.random() < 0.3 else rng.choice(corpus)
            path = lay_out(chosen, mutate(chosen, rng), work / "model")
            kind = rng.choices(("convert", "save", "build"), (20, 3, 1))[0]
            _record(outcome, worker.convert(kind, path), path, out / f"{seed}-{outcome.inputs}-{chosen.name}", kind)
        if worker is not None and worker.alive:
            worker.close()
    return outcome


def lay_out(seed: Seed, model: bytes, folder: Path) -> Path:
    """Write a model and its other files into a folder, with a file outside that it must not read, and a link to that file."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder.parent / "outside.bin").write_bytes(bytes(4096))
    (folder / "link.bin").symlink_to(folder.parent / "outside.bin")
    for name, data in seed.files.items():
        (folder / name).write_bytes(data)
    path = folder / "model.onnx"
    path.write_bytes(model)
    return path


def _record(outcome: Outcome, result: dict[str, Any], path: Path, target: Path, kind: str) -> None:
    outcome.inputs += 1
    outcome.counts[result["outcome"]] += 1
    outcome.slowest = max(outcome.slowest, result["seconds"])
    outcome.peak_mb = max(outcome.peak_mb, result["peak_mb"])
    if result["outcome"] == "defect":
        target.parent.mkdir(parents=True, exist_ok=True)
        file = shutil.copy(path, target.with_suffix(".onnx"))
        detail = f"{kind}: {result['detail']}"
        target.with_suffix(".txt").write_text(f"{detail}\n", "utf-8")
        outcome.findings.append(Finding(Path(file), detail))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("findings"))
    args = parser.parse_args()
    outcome = fuzz(args.seconds, seed=args.seed, out=args.out)
    print(outcome)
    for finding in outcome.findings:
        print(f"{finding.file}: {finding.detail}\n")
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
