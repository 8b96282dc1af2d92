"""The command line starts quickly and without messages, and its help is complete."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from bundler.cli.app import app

COMMANDS = (
    "init", "build", "verify", "inspect", "ops", "serve", "launch", "smoke", "bench", "promote", "render", "export-mobile",
    "doctor", "demo",
)  # fmt: skip
HEAVY = ("torch", "tensorflow", "onnx", "onnxruntime", "pydantic", "numpy", "grpc", "aiohttp")


def tfbundle(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bundler", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in COMMANDS:
        assert re.search(rf"^\W*{command}\b", result.output, re.MULTILINE), command


@pytest.mark.parametrize(("arguments", "allowed"), [(["--help"], set()), (["build", "--help"], {"pydantic"})])
def test_help_imports_nothing_heavy(arguments: list[str], allowed: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "bundler", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {
        line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")
    }
    assert "typer" in imported
    assert imported & set(HEAVY) <= allowed


def test_every_command_has_help() -> None:
    for command in COMMANDS:
        result = CliRunner().invoke(app, [command, "--help"])
        assert result.exit_code == 0
        assert "Usage" in result.output


def test_version_is_one_line() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"tfbundle {version('tfbundle')}\n")


def test_wrong_usage_exits_with_2() -> None:
    for arguments in (
        ["no-such-command"],
        ["build"],
        ["build", "--no-such-flag", "x"],
        ["verify"],
        ["smoke"],
    ):
        result = tfbundle(*arguments)
        assert result.returncode == 2, arguments
        assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_keras_is_imported_when_it_is_used() -> None:
    """The command line imports TensorFlow without it; a user's file may still say tf.keras."""
    script = (
        "import sys; from bundler.cli.output import quiet_libraries; quiet_libraries(); "
        "import tensorflow as tf; assert 'keras' not in sys.modules; "
        "assert tf.keras.layers.Dense(3)(tf.ones([1, 2])).shape == (1, 3)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
