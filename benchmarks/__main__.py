"""Run all benchmarks, one after the other: `python -m benchmarks [--json FOLDER] [--one-row]`.

`--one-row` only checks that nothing is broken: it imports every module and measures the smallest case of every benchmark.

Exit status: 0 all limits are met, 1 a limit is not met, 2 something could not be measured.
"""

from __future__ import annotations

import argparse
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import benchmarks
from benchmarks.support.common import ROOT

QUESTIONS = (
    "cli_start", "build_time", "forms", "fusions", "input_guards", "converters", "constants", "precision", "tflite",
    "serving_fast_path", "serving", "runtimes", "threads", "ragged", "async_client", "many_clients", "tensors", "scaling", "size",
    "delivery", "many",
)  # fmt: skip
"""The modules that measure, in the order in which they run."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="write <benchmark>.json files to FOLDER")
    parser.add_argument("--one-row", action="store_true", help="import every module and measure one row of each benchmark")
    args = parser.parse_args()
    if args.one_row:
        import_all()
    statuses = []
    for name in QUESTIONS:
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        if args.json is not None:
            args.json.mkdir(parents=True, exist_ok=True)
            command += ["--json", str(args.json.resolve() / f"{name}.json")]
        command += ["--one-row"] if args.one_row else []
        statuses.append(subprocess.run(command, cwd=ROOT, check=False).returncode)
    return max(statuses)


def import_all() -> None:
    """Import every module of this package."""
    for module in pkgutil.walk_packages(benchmarks.__path__, "benchmarks."):
        import_module(module.name)


if __name__ == "__main__":
    sys.exit(main())
