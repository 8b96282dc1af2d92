"""Builds, the server and their Python API leave stderr to their own lines: no word of absl, TensorFlow's C++ or LiteRT.

The processes run without TF_CPP_MIN_LOG_LEVEL, which the tests' own process sets.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving import quiet

ENVIRONMENT = {key: value for key, value in os.environ.items() if key != quiet.LEVEL_ENV}


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=True)


@pytest.mark.slow
def test_the_python_api_builds_and_serves_without_a_word_on_stderr(mlp_onnx: Path, tmp_path: Path) -> None:
    """One process does all that imports TensorFlow: absl logs before its initialization, TensorFlow at the first session."""
    code = f"""
import numpy as np, os
import bundler, serving
bundle = bundler.build({str(mlp_onnx)!r}, out="out")
assert bundle.verify() == []
with serving.Server("out") as server, serving.Client(f"localhost:{{server.grpc_port}}") as client:
    print(client.predict("mlp", x=np.ones((1, 4), np.float32))["y"].shape)
assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ
"""
    done = python(code, tmp_path)
    assert (done.stdout, done.stderr) == ("(1, 3)\n", "")


@pytest.mark.slow
def test_the_commands_write_only_their_own_lines_to_stderr(mlp_onnx: Path, tmp_path: Path) -> None:
    own = ("mlp: ", "write configs, manifests, report: ", "publish: ")
    for arguments in (["build", str(mlp_onnx), "-o", "out", "--tflite", "float32"], ["inspect", "out"], ["verify", "out"]):
        command = [sys.executable, "-m", "bundler", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=True
        )
        assert [line for line in done.stderr.splitlines() if not line.startswith(own)] == []


@pytest.mark.slow
def test_whoever_sets_tensorflows_log_level_gets_its_messages(tmp_path: Path) -> None:
    code = "from serving.quiet import quiet_tensorflow; quiet_tensorflow(); import tensorflow"
    environment = {**ENVIRONMENT, quiet.LEVEL_ENV: "0"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert "oneDNN" in done.stderr
