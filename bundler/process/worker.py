"""Python processes of our own, for work that may crash or hang the process that does it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bundler.errors import UsageError
from bundler.process import garbage

TIMEOUT_ENV = "TFBUNDLE_WORKER_TIMEOUT"
"""The environment variable with the seconds that a worker may take to answer a request."""

DEFAULT_TIMEOUT_S = 3600.0
"""One hour: a conversion with calibration takes minutes, even that of a large model on a slow machine."""

_CHATTER = re.compile(r"[IW]\d{4} |WARNING: All log messages before absl|To enable the following instructions|INFO: ")
"""What TensorFlow and LiteRT write whenever they start."""

_CHUNK = 1 << 16
_EVENT = "event"
_STOP_S = 5.0
_EXIT_S = 60.0
"""The seconds that a process may take to exit once it has closed its side of the pipe."""


def run_module(module: str, arguments: Sequence[str], log: Path, *, timeout_s: float | None = None) -> int:
    """Run `python -m module arguments` with its output in `log`.

    The process starts in the log's folder, so that no file of the user's shadows a module.

    Args:
        module: name of the module.
        arguments: its command line.
        log: the file for standard output and standard error.
        timeout_s: the longest time to wait, in seconds; None: any time.

    Returns:
        The exit status; negative for a signal.

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


def worker_timeout() -> float:
    """Return the seconds that a worker may take to answer a request, from the environment or the default.

    Raises:
        UsageError: the environment variable does not hold a positive number.
    """
    text = os.environ.get(TIMEOUT_ENV, "")
    try:
        seconds = float(text) if text else DEFAULT_TIMEOUT_S
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(
            f"{TIMEOUT_ENV} is {text!r}, which is not a number of seconds.",
            fix=f"set it to a positive number, e.g. {TIMEOUT_ENV}={DEFAULT_TIMEOUT_S:g}, or unset it",
            code="TFB1002",
        )
    return seconds


class WorkerEndedError(Exception):
    """The process ended before it answered."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status


class WorkerTimeoutError(Exception):
    """The process did not answer in time and was killed."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"no answer within {timeout_s:g} seconds")
        self.timeout_s = timeout_s


class WorkerProcess:
    """`python -m module arguments` that answers requests until it is closed (its side: `answer_requests`).

    Like `run_module`, it starts in the log's folder, and everything it prints goes into the log.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], log: Path, variables: Mapping[str, str | None] | None = None
    ) -> None:
        """Start the process.

        Args:
            module: name of the module.
            arguments: its command line.
            log: the file for everything that it prints.
            variables: changes to the environment that it gets; None removes a variable.
        """
        changed = {**_environment(), **(variables or {})}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=log.parent,
                env={name: value for name, value in changed.items() if value is not None},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                bufsize=0,
            )
        assert self._process.stdin and self._process.stdout
        self._requests, self._answers = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._requests, False)  # a process that does not read must not block its parent
        self._received = b""

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def ask(
        self, request: Mapping[str, Any], timeout_s: float, on_event: Callable[[Any], None] | None = None
    ) -> dict[str, Any]:
        """Send a request and return the answer; both are plain JSON data.

        Args:
            request: the request.
            timeout_s: the longest time to wait for the answer or for the next event.
            on_event: called with what the process tells before it answers (`answer_with_events`).

        Raises:
            WorkerEndedError: the process ended instead.
            WorkerTimeoutError: the process took longer than `timeout_s` seconds and was killed.
        """
        try:
            answer = self._next(json.dumps(request).encode() + b"\n", timeout_s)
            while on_event is not None and _EVENT in answer:
                on_event(answer[_EVENT])
                answer = self._next(b"", timeout_s)
        except TimeoutError:
            self.close()
            raise WorkerTimeoutError(timeout_s) from None
        return answer

    def _next(self, request: bytes, timeout_s: float) -> dict[str, Any]:
        """Write a request, and return the next line that the process writes."""
        try:
            line = self._exchange(request, timeout_s)
        except BrokenPipeError:
            line = b""
        if not line:
            raise WorkerEndedError(self._exit_status())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _exchange(self, request: bytes, timeout_s: float) -> bytes:
        """Write the request and read one line; return nothing if the process ends before the line does."""
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._requests, selectors.EVENT_WRITE)
            selector.register(self._answers, selectors.EVENT_READ)
            while b"\n" not in self._received:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError
                for key, _ in selector.select(min(remaining, _EXIT_S)):
                    if key.fd == self._answers:
                        received = os.read(self._answers, _CHUNK)
                        if not received:
                            return b""
                        self._received += received
                    else:
                        with contextlib.suppress(BlockingIOError):
                            request = request[os.write(self._requests, request[:_CHUNK]) :]
                        if not request:
                            selector.unregister(self._requests)
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _exit_status(self) -> int:
        try:
            return self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def kill(self) -> None:
        """End the process, whatever it is doing; `ask` in another thread raises WorkerEndedError."""
        self._process.kill()

    def stop(self) -> None:
        """Ask the process to end, so that it can end its own processes; kill it if it takes longer than a few seconds."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def close(self) -> None:
        """End the process, whatever it is doing, and free what it holds."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()


def answer_requests(answer: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """Serve a `WorkerProcess` from inside: read one JSON line, write one, until standard input ends.

    Everything else that is printed to standard output, such as the messages of libraries, goes to standard error.
    """
    answer_with_events(lambda request, _: answer(request))


def answer_with_events(answer: Callable[[dict[str, Any], Callable[[Any], None]], Mapping[str, Any]]) -> None:
    """Serve a `WorkerProcess` as `answer_requests` does. `answer` also gets a function that tells something before it answers."""
    garbage.collect_seldom()
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def write(reply: Mapping[str, Any]) -> None:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()

    with replies:
        for line in sys.stdin:
            write(answer(json.loads(line), lambda event: write({_EVENT: event})))


def how_it_ended(status: int, log: Path) -> str:
    """Describe the end of a process that gave no result: `was ended by SIGSEGV. Its last output: …`."""
    cause = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit code {status}"
    last = last_words(log)
    return f"{cause}. Its last output: {last}" if last else f"{cause}."


def last_words(log: Path) -> str | None:
    """Return the last line of a log that is not a message that TensorFlow or LiteRT writes at every start."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return next((line for line in reversed(lines) if not _CHATTER.match(line)), None)


def was_killed(status: int) -> bool:
    """Return whether the process got SIGKILL, which is what a system out of memory sends."""
    return status == -signal.SIGKILL


def _environment() -> dict[str, str]:
    """Return the parent's environment, with the same bundler importable and TensorFlow's chatter off."""
    root = str(Path(__file__).resolve().parents[2])
    python_path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    return {**os.environ, **quiet, "PYTHONPATH": python_path}
