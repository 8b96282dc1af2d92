"""Measures the cost of whole processes, runs contenders in turns, and prints tables and verdicts."""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("TFBUNDLE_BENCH_CACHE", Path.home() / ".cache" / "tfbundle-bench"))
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Cost:
    """The cost of a whole process.

    Attributes:
        seconds: the time from start to end, on the wall clock.
        cpu_seconds: the processor time of the process and its children, which a busy machine does not change much.
        peak_mb: the largest resident memory of the process and its children together, in MiB, sampled every 20 ms; at least
            the kernel's own maximum for the largest of them.
        output: what the process wrote to stdout.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    output: str


class BenchmarkError(Exception):
    """Something could not be measured, such as a command that failed."""


def run(command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Cost:
    """Run a command to its end and return its cost.

    Raises:
        BenchmarkError: the exit status is not 0; the message ends with the last lines on stderr.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            list(command), cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
            stdout=output, stderr=errors,
        )  # fmt: skip
        peak, cpu = _watch(process)
        seconds = time.perf_counter() - began
        stdout, stderr = _text(output), _text(errors)
    if process.returncode != 0:
        last = "\n".join((stderr or stdout).splitlines()[-15:])
        raise BenchmarkError(f"{' '.join(command)} exited with {process.returncode}:\n{last}")
    return Cost(seconds, cpu, peak / MEBIBYTE, stdout)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace").strip()


def _watch(process: subprocess.Popen[bytes]) -> tuple[int, float]:
    """Wait for the end of a process. Return peak resident bytes and processor seconds, both including all children."""
    peak, root = 0, psutil.Process(process.pid)
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return max(peak, usage.ru_maxrss * 1024), usage.ru_utime + usage.ru_stime  # Linux: KiB
        peak = max(peak, _resident(root))
        time.sleep(0.02)


def _resident(root: psutil.Process) -> int:
    total = 0
    for process in (root, *root.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def interleave(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Give every contender one turn per round, so that a disturbance of the machine affects all of them.

    Args:
        contenders: name -> a function that takes one turn and returns its figure.
        rounds: the number of rounds.

    Returns:
        The figures by name, one per round.
    """
    figures: dict[str, list[float]] = {name: [] for name in contenders}
    sample = random.Random(0).sample
    for _ in range(rounds):
        # A new order each time: the effects of one contender on the next (a full cache, spinning threads) are spread over all.
        for name in sample(list(contenders), len(contenders)):
            figures[name].append(contenders[name]())
    return figures


def ratio(figures: Mapping[str, Sequence[float]], ours: str, theirs: str) -> float:
    """Return the median of the ratios per round; a slow phase of the machine is in both figures of a round."""
    return statistics.median(a / b for a, b in zip(figures[ours], figures[theirs], strict=True))


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(statistics.fmean(math.log(value) for value in values))


def turn_of(
    call: Callable[[], object], calls: int, clock: Callable[[], float] = time.perf_counter
) -> Callable[[], float]:
    """Return a turn for `interleave`: one call to warm up, then the mean milliseconds of `calls` calls on the clock."""

    def run() -> float:
        call()
        began = clock()
        for _ in range(calls):
            call()
        return (clock() - began) / calls * 1e3

    return run


@dataclass(frozen=True)
class Verdict:
    """A figure and its limit, which is met if `value` < `limit`, or <= if `inclusive`."""

    name: str
    value: float
    limit: float
    unit: str
    inclusive: bool = False

    @property
    def met(self) -> bool:
        return self.value < self.limit or (self.inclusive and self.value == self.limit)

    def __str__(self) -> str:
        sign = "<=" if self.inclusive else "<"
        word = "met" if self.met else "NOT MET"
        return f"{self.name}: {self.value:.2f}{self.unit} (limit {sign} {self.limit:.2f}{self.unit}): {word}"


@dataclass
class Report:
    """The result of a benchmark: a table, verdicts, and notes on what could not be measured."""

    title: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        head = [f"## {self.title}", "", machine(), ""]
        table = [self.columns, ["---"] * len(self.columns), *self.rows]
        lines = ["| " + " | ".join(row) + " |" for row in table]
        verdicts = [f"- {verdict}" for verdict in self.verdicts]
        return "\n".join([*head, *lines, "", *verdicts, *(f"- {note}" for note in self.notes), ""])

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title, "machine": machine(), "versions": versions(), "columns": list(self.columns),
            "rows": self.rows, "verdicts": [{**asdict(v), "met": v.met} for v in self.verdicts],
            "notes": self.notes, "data": self.data,
        }  # fmt: skip

    def judge_mean(self, name: str, ratios: Sequence[float], limit: float) -> None:
        """Add the verdict that the geometric mean of the ratios, rounded to two decimals, is at most the limit."""
        self.verdicts.append(Verdict(name, round(geometric_mean(ratios), 2), limit, "", inclusive=True))

    def finish(self, args: argparse.Namespace) -> int:
        """Print the table and write the JSON file, as `arguments` parsed them.

        Returns:
            The exit status: 1 if a limit is not met, else 0. With --one-row, limits are not judged.
        """
        if args.one_row:
            self.verdicts.clear()
            self.notes.append("one row only: limits are not judged")
        print(self.markdown(), flush=True)
        if args.json is not None:
            args.json.write_text(json.dumps(self.to_json(), indent=2) + "\n", "utf-8")
        return 0 if all(verdict.met for verdict in self.verdicts) else 1


def status_of(main: Callable[[], int]) -> int:
    """Return the exit status of a benchmark: 0 all limits met, 1 a limit not met, 2 something could not be measured."""
    try:
        return main()
    except BenchmarkError as exc:
        print(f"not measured: {exc}", file=sys.stderr)
        return 2


def machine() -> str:
    """Return the name of the processor, the number of cores that this process may use, and the load of the machine."""
    from serving.cpu import processor  # not at the top: the environments of peers import this module, too

    return f"{processor()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"


def versions() -> dict[str, str]:
    packages = ("torch", "tensorflow", "onnx", "onnxruntime")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and verdicts to FILE too")
    parser.add_argument("--one-row", action="store_true", help="measure only the smallest case, to see that nothing is broken")
    return parser


def load_arguments(description: str | None, *, turns: int, seconds: float) -> argparse.ArgumentParser:
    """Return a parser with the options of benchmarks that load servers in turns, with these defaults."""
    parser = arguments(description)
    parser.add_argument("--turns", type=int, default=turns, help="how often each server is loaded")
    parser.add_argument("--seconds", type=float, default=seconds, help="how long each time")
    return parser


def tfbundle(*arguments: str) -> list[str]:
    """Return the command line of the tfbundle of this environment."""
    return [str(Path(sys.executable).with_name("tfbundle")), *arguments]
