"""Convolutions with and without oneDNN: TensorFlow takes it where a CPU has AVX-512 VNNI; a SavedModel has to run anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent / "ops" / "test_conv.py"


@pytest.mark.slow
@pytest.mark.parametrize("onednn", ["0", "1"])
def test_convolutions_agree(onednn: str) -> None:
    """In a process of its own: TensorFlow reads the variable when it is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", str(TESTS)]
    done = subprocess.run(command, env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
