"""Python processes of our own that do what may take the whole process down with it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

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


class WorkerEndedError(Exception):
    """The process ended before it answered."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status


class WorkerProcess:
    """`python -m module arguments` that answers requests until it is closed (its side: `answer_requests`).

    Like `run_module`, it starts in the log's folder, and what it prints goes into the log.
    """

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=log.parent,
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
            )

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one request, both plain JSON data.

        Raises:
            WorkerEndedError: the process ended instead.
        """
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerEndedError(self._process.wait()) from None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerEndedError(self._process.wait())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process; whatever it is doing is given up."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream and not stream.closed:
                with contextlib.suppress(BrokenPipeError):  # a request that the process never read
                    stream.close()


def answer_requests(answer: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """The process's side of a `WorkerProcess`: one JSON line in, one out, until standard input ends.

    Standard output becomes standard error for everyone else: libraries print.
    """
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with replies:
        for line in sys.stdin:
            replies.write(json.dumps(answer(json.loads(line))) + "\n")
            replies.flush()


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
    root = str(Path(__file__).resolve().parents[2])
    python_path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    return {**os.environ, **quiet, "PYTHONPATH": python_path}
