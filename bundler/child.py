"""Python processes of our own that do what may take the whole process down with it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_CHATTER = re.compile(r"[IW]\d{4} |WARNING: All log messages before absl|To enable the following instructions|INFO: ")
"""What TensorFlow and LiteRT write whenever they start."""


def run_module(module: str, arguments: Sequence[str], log: Path, *, timeout_s: float | None = None) -> int:
    """Run `python -m module arguments` with its output in `log`; its exit status, negative for a signal.

    It starts in the log's folder, so that no file of the user's shadows a module.

    Raises:
        subprocess.TimeoutExpired: it ran longer than `timeout_s` and was killed.
    """
    with log.open("wb") as output:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=log.parent,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            timeout=timeout_s,
            check=False,
        ).returncode


def how_it_ended(status: int, log: Path) -> str:
    """`was ended by SIGSEGV. Its last words: …` for a process that gave no result."""
    cause = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited with {status}"
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    said = [line for line in lines if not _CHATTER.match(line)]
    return f"{cause}. Its last words: {said[-1]}" if said else f"{cause}."


def was_killed(status: int) -> bool:
    """Whether it got SIGKILL, which is what a system out of memory sends."""
    return status == -signal.SIGKILL


def _environment() -> dict[str, str]:
    """The parent's environment, with the same bundler importable and TensorFlow's chatter off."""
    root = str(Path(__file__).resolve().parents[1])
    python_path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    return {**os.environ, **quiet, "PYTHONPATH": python_path}
