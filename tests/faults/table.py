"""Run every attack beside a light client, and write the table in docs/security.md.

    python -m tests.faults.table [--only TEXT] [--no-write]

Each attack goes against a real server in another process, with default limits but for shorter time-outs. Exit status: 0 if all
limits are kept, else 1. The limits: the light client loses no request, its p99 is below 1 s, the server's memory stays below 2
times --max_decoded_bytes above idle, it logs little, and the answers do no harm.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.support.common import machine
from serving.server.config.options import ServerOptions
from tests.faults.attacks import config_files, over_grpc, over_rest
from tests.faults.attacks.attack import Attack
from tests.faults.light_client import LightClient, LogBytes, MemoryPeak, resident_mb
from tests.faults.victim import Victim, save_model, victim

FILE = Path(__file__).parents[2] / "docs" / "security.md"
BEGIN, END = "<!-- fault table: python -m tests.faults.table -->", "<!-- end of the fault table -->"
NONE = Attack("none, for comparison", lambda _: "", "")
ATTACKS: tuple[Attack, ...] = (NONE, *over_rest.ATTACKS, *over_grpc.ATTACKS, *config_files.ATTACKS)
FLAGS = ("--rest_api_timeout_in_ms=5000", "--write_timeout_in_ms=3000")
COLUMNS = ("attack", "limit", "answer", "memory peak, MB above idle", "lost requests", "p99, ms", "log, bytes")
P99_SECONDS = 1.0
LEAST_SECONDS = 2.0
"""How long the light client runs beside an attack that is over at once."""
LOG_BYTES = 4096
"""Most bytes that a server logs on one attack."""

_KEPT_MB = 256.0
"""A server that keeps this much memory is replaced before the next attack."""

_NICENESS = 10


def memory_limit_mb() -> float:
    """Return the memory above idle that no attack may reach."""
    return 2 * ServerOptions().max_decoded_bytes / 2**20


@dataclass
class Row:
    """The outcome of one attack; `failures` names the limits that were not kept."""

    attack: Attack
    answer: str = ""
    memory_mb: float = 0.0
    losses: int = 0
    p99: float = 0.0
    log_bytes: int = 0
    seconds: float = 0.0
    log_text: str = ""
    failures: list[str] = field(default_factory=list)

    def judge(self) -> None:
        """Compare the figures with the limits."""
        per_second = self.attack.log_bytes_per_second
        most = LOG_BYTES if per_second is None else per_second * self.seconds
        checks = {
            f"{self.losses} requests of the light client are lost": self.losses > 0,
            f"p99 of the light client is {self.p99:.2f} s": self.p99 >= P99_SECONDS,
            f"memory rises by {self.memory_mb:.0f} MB": self.memory_mb >= memory_limit_mb(),
            f"{self.log_bytes} bytes are logged in {self.seconds:.0f} s{_quoted(self.log_text)}": self.log_bytes > most,
        }
        self.failures += [text for text, failed in checks.items() if failed]

    def cells(self) -> list[str]:
        p99 = f"{self.p99 * 1e3:.0f}"
        figures = [f"{self.memory_mb:.0f}", str(self.losses), p99, str(self.log_bytes)]
        return [_escaped(self.attack.name), _escaped(self.attack.limit), _escaped(self.answer), *figures]


class Runner:
    """Runs attacks, on one server for as many of them as it survives unharmed."""

    def __init__(self, models: Path) -> None:
        self._models = models
        self._stack = ExitStack()
        self._victim: Victim | None = None
        self._idle_mb = 0.0

    def run(self, attack: Attack) -> Row:
        """Run an attack beside the light client and return its row."""
        if self._victim is None or attack.needs_own_server:
            self._start(attack)
        assert self._victim is not None
        target, row = self._victim, Row(attack)
        try:
            self._measure(target, attack, row)
        except (AssertionError, OSError, RuntimeError, psutil.Error) as exc:
            row.failures.append(str(exc) or type(exc).__name__)
        row.judge()
        if row.failures or attack.needs_own_server or resident_mb(target.server.pid) - self._idle_mb > _KEPT_MB:
            self.close()
        return row

    def _measure(self, target: Victim, attack: Attack, row: Row) -> None:
        light, memory, log = LightClient(target.server), MemoryPeak(target.server.pid), LogBytes(target.log)
        began, answers, problems = time.monotonic(), [], []
        with log:
            try:
                with light, memory:
                    _in_background(lambda: answers.append(attack.run(target)), problems)
                    time.sleep(max(LEAST_SECONDS - (time.monotonic() - began), 0.0))
            finally:
                row.losses, row.p99 = light.result.losses, light.result.p99
                row.memory_mb, row.seconds = memory.peak_mb - self._idle_mb, time.monotonic() - began
                row.failures += [*problems, *light.result.failures[:2]]
            code = target.server.process.poll()
            if code is not None:
                answers.append(f"the server ended with {code}")
            elif attack.after:
                answers.append(attack.after(target))
        row.answer, row.log_bytes, row.log_text = "; ".join(answers), log.written, log.text()

    def _start(self, attack: Attack) -> None:
        self.close()
        started = victim(*FLAGS, *attack.flags, models=self._models, files=attack.files)
        self._victim = self._stack.enter_context(started)
        with LightClient(self._victim.server):
            time.sleep(1.0)
        self._idle_mb = resident_mb(self._victim.server.pid)

    def close(self) -> None:
        """End the server."""
        self._stack.close()
        self._victim = None


def _in_background(call: Callable[[], object], problems: list[str]) -> None:
    """Run a function to its end in a thread of low priority, since an attacker has a machine of its own."""

    def work() -> None:
        if sys.platform == "linux":
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        try:
            call()
        except (AssertionError, OSError) as exc:
            problems.append(str(exc) or type(exc).__name__)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def _quoted(log: str) -> str:
    """Return the beginning of a log in printable characters, to show after a failure."""
    text = "".join(char if char.isprintable() or char == "\n" else "?" for char in log[:1500])
    return f": {text}" if text else ""


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table, with a line on how they were measured."""
    cells = [list(COLUMNS), ["---"] * 3 + ["---:"] * 4, *(row.cells() for row in rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    about = re.sub(r", load .*", "", machine())
    limits = f"Limits: 0 lost requests, p99 below {P99_SECONDS * 1e3:.0f} ms, memory below {memory_limit_mb():.0f} MB above idle."
    return "\n".join([f"Measured on {about}, with `{' '.join(FLAGS)}`. {limits}", "", *lines])


def write(text: str) -> None:
    """Replace what is between the markers in docs/security.md."""
    whole = FILE.read_text("utf-8")
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{FILE} lacks the line {BEGIN if not begin else END}")
    FILE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="run the attacks whose name contains TEXT, and write nothing")
    parser.add_argument("--no-write", action="store_true", help="print the table without writing it")
    args = parser.parse_args()
    rows, began = [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tfbundle-table-") as name:
        save_model(Path(name) / "m" / "1")
        runner = Runner(Path(name))
        try:
            for attack in ATTACKS:
                if args.only in attack.name:
                    rows.append(runner.run(attack))
                    print("NOT MET" if rows[-1].failures else "ok     ", *rows[-1].cells(), sep=" | ", flush=True)
                    for failure in rows[-1].failures:
                        print("       ", failure, flush=True)
        finally:
            runner.close()
    within = sum(not row.failures for row in rows)
    print(f"\n{within} of {len(rows)} attacks within the limits, {time.monotonic() - began:.0f} s")
    if not (args.only or args.no_write):
        write(table(rows))
    return 1 if any(row.failures for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
