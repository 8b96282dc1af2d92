"""All benchmarks, one after the other: `python -m benchmarks [--json FOLDER]`.

Exit status: 0 all limits are met, 1 one is not, 2 something could not be measured.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.common import ROOT

BENCHMARKS = (
    "cli_start", "build_time", "forms", "fusions", "converters", "tflite", "serving_fast_path", "serving", "scaling", "size",
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FOLDER", help="write <benchmark>.json files there")
    folder = parser.parse_args().json
    statuses = []
    for name in BENCHMARKS:
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            command += ["--json", str(folder.resolve() / f"{name}.json")]
        statuses.append(subprocess.run(command, cwd=ROOT, check=False).returncode)
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main())
