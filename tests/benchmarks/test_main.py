"""`python -m benchmarks` runs every benchmark."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import QUESTIONS

ROOT = Path(__file__).parents[2]


def test_every_benchmark_is_run() -> None:
    measuring = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "status_of(main)" in path.read_text("utf-8")}
    assert set(QUESTIONS) == measuring


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_one_row_of_every_benchmark_is_measured() -> None:
    command = [sys.executable, "-m", "benchmarks", "--one-row"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("one row only: limits are not judged") == len(QUESTIONS)
