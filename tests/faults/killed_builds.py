"""kill -9 of whole builds at random points: `python -m tests.faults.killed_builds [--models 100] [--kills 20] [--on ray]`.

A build of many models is left alone; the same build with a cache of its own is killed, with its whole process group, and begun
again, until it has ended. Both bundles have to have the same bytes in every file.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from benchmarks.many import write_models

EPOCH = "1700000000"
_ENDED = re.compile(r"\[(\d+)/\d+\] ")
_SLOWEST_S = 3600.0
COMMAND = (sys.executable, "-m", "bundler", "build")


@dataclass(frozen=True)
class Build:
    """A build with its own cache and bundle.

    Attributes:
        file: the bundle.yaml.
        folder: holds the cache, the bundle and the log.
        jobs: number of processes.
        on: the Ray cluster; None: this machine.
    """

    file: Path
    folder: Path
    jobs: int
    on: str | None = None

    @property
    def bundle(self) -> Path:
        """The bundle; its folder's name is in its files."""
        return self.folder / "out"

    def start(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start it in a process group of its own."""
        options: tuple[str, ...] = ("--jobs", str(self.jobs), "--cache", str(self.folder / "cache"), "-o", str(self.bundle))
        options += ("--on", self.on) if self.on else ()
        root = Path(__file__).parents[2]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "PYTHONPATH": str(root)}
        command = [*COMMAND, str(self.file), *options]
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    def run(self, until: float | None = None) -> bool:
        """Run it to its end, or kill its process group `until` seconds after the start; return whether it ended by itself."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            process = self.start(log)
            try:
                status = process.wait(_SLOWEST_S if until is None else until)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return False
        if status != 0:
            raise AssertionError(f"exit status {status}:\n{(self.folder / 'log').read_text('utf-8')[-4000:]}")
        return True


def contents(root: Path) -> dict[str, bytes]:
    """Return every file of a bundle but the lock, by its path."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def different(ours: Path, theirs: Path) -> list[str]:
    """Return the paths at which two bundles differ."""
    one, other = contents(ours), contents(theirs)
    return sorted(path for path in {*one, *other} if one.get(path) != other.get(path))


def run(folder: Path, models: int, kills: int, jobs: int, seed: int, on: str | None = None) -> list[str]:
    """Compare a build that was killed with one that was left alone; return the paths at which they differ."""
    draw = random.Random(seed)
    file = write_models(folder / "models", models)
    alone, killed = Build(file, folder / "alone", jobs, on), Build(file, folder / "killed", jobs, on)
    began = time.monotonic()
    alone.run()
    whole = time.monotonic() - began
    print(f"left alone: {whole:.1f} s", flush=True)
    begun_again = 0
    for number in range(kills):
        # A share of the time that the rest takes, so that kills come while it starts, builds, writes and publishes.
        left = whole * (1 - number / (2 * kills))
        until = draw.uniform(0.0, 1.0) * left / max(1, (kills - number) / 4)
        if killed.run(until):
            shutil.rmtree(killed.bundle)  # all from the cache from now on: the kills that are left hit the publication
            begun_again += 1
        ended = _ENDED.findall((killed.folder / "log").read_text("utf-8"))
        print(f"kill {number + 1} after {until:.1f} s; model {ended[-1] if ended else 0} was the last", flush=True)
    killed.run()
    print(f"ended after {kills} kills ({begun_again} times it was faster)", flush=True)
    return different(alone.bundle, killed.bundle)


def main() -> int:
    """Run it, and tell what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("models", 100), ("kills", 20), ("jobs", 2), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--on", help="a Ray cluster: ray, or ray://HOST:PORT")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tfbundle-killed-") as folder:
        differ = run(Path(folder), args.models, args.kills, args.jobs, args.seed, args.on)
    print(f"differ: {', '.join(differ)}" if differ else "the same bytes in every file")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
