"""Convolutions, and tensors of many axes, with and without oneDNN.

TensorFlow uses it on CPUs with AVX-512 VNNI, and a SavedModel must run on all. `make test-all` runs the tests of conformance
and of the zoo with and without it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = ("ops/test_conv.py", "ops/test_conv_transpose.py", "test_many_axes.py")
TESTS = [str(Path(__file__).parent / name) for name in NAMES]


@pytest.mark.slow
@pytest.mark.parametrize("onednn", ["0", "1"])
def test_operators_agree_with_onnx_runtime(onednn: str) -> None:
    """Run in a process of its own, because TensorFlow reads the variable when it is imported."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", *TESTS]
    done = subprocess.run(command, env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": onednn}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
