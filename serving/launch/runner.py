"""The interface of runners, and what they share: a local process whose output is streamed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from serving.errors import LaunchError
from serving.texts import shell_command

GRACE_SECONDS = 35.0
"""How long a server may take to end: requests in progress have 30 s (`ServerOptions.grace_seconds`)."""

_TAIL = 15
"""Number of lines at the end of a log that an error quotes."""

Log = Callable[[str], None]
"""Takes a line of the server's output; called from another thread."""


class Runner(Protocol):
    """One way to run a server."""

    @property
    def command(self) -> Sequence[str]:
        """The exact command that `start` runs."""

    @property
    def by_hand(self) -> str:
        """Shell command that cleans up what `stop` could not; empty while nothing was started."""

    @property
    def hosts(self) -> str:
        """Address of this machine that the server listens on."""

    def prepare(self, log: Log) -> None:
        """Make everything ready that the command needs.

        Raises:
            LaunchError: something is missing; the error says how to get it.
        """

    def start(self, log: Log) -> None:
        """Run the command.

        Raises:
            LaunchError: the command cannot be run.
        """

    def ended(self) -> LaunchError | None:
        """Return why the server has ended, or None while it runs."""

    def stop(self) -> None:
        """End the server and remove everything that `prepare` and `start` made. May be called at any time, and repeatedly.

        Raises:
            LaunchError: something could not be removed; `by_hand` says how to remove it.
        """


class Process:
    """A child process in its own session, so that a terminal's Ctrl-C reaches it only through this process.

    Args:
        command: the command and its arguments.
        log: called with each line of its output.
        environment: variables to set in addition to those of this process.

    Raises:
        LaunchError: the command cannot be run.
    """

    def __init__(self, command: Sequence[str], log: Log, environment: dict[str, str] | None = None) -> None:
        self.command = tuple(command)
        self.tail: deque[str] = deque(maxlen=_TAIL)
        try:
            self._child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        except OSError as exc:
            raise LaunchError(f"{self.command[0]} cannot be run: {exc.strerror}.", code="TFB6201") from exc
        self._reader = threading.Thread(target=self._read, args=(log,), name="server-log", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._child.pid

    def poll(self) -> int | None:
        """Return the exit code once the process has ended and its output has been logged; None while it runs."""
        code = self._child.poll()
        if code is not None:
            self._reader.join(timeout=2.0)
        return code

    def wait(self, seconds: float) -> bool:
        """Wait for the process to end, and return whether it did so within `seconds`."""
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._reader.join(timeout=2.0)
        return True

    def end(self, seconds: float = GRACE_SECONDS) -> None:
        """Send SIGTERM; send SIGKILL to the whole session after `seconds`, or if this call is interrupted."""
        try:
            if self.poll() is None:
                self._child.terminate()
                self.wait(seconds)
        finally:
            if self._child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                self._child.wait()
            self._reader.join(timeout=2.0)
            if self._child.stdout and not self._reader.is_alive():
                self._child.stdout.close()

    def _read(self, log: Log) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            text = line.rstrip()
            self.tail.append(text)
            log(text)


class ProcessRunner:
    """Base of the runners whose server is a local process."""

    def __init__(self) -> None:
        self._process: Process | None = None

    @property
    def command(self) -> Sequence[str]:
        """See `Runner.command`."""
        raise NotImplementedError

    @property
    def by_hand(self) -> str:
        """See `Runner.by_hand`."""
        return f"kill {self._process.pid}" if self._process else ""

    def start(self, log: Log) -> None:
        """See `Runner.start`."""
        self._process = Process(self.command, log)

    def ended(self) -> LaunchError | None:
        """See `Runner.ended`."""
        code = self._process.poll() if self._process else None
        if code is None or self._process is None:
            return None
        return ended_error("The server", code, self.command, self._process.tail)

    def stop(self) -> None:
        """See `Runner.stop`."""
        if self._process:
            self._process.end()


def ended_error(
    who: str, code: int, command: Sequence[str], tail: Sequence[str], fix: str = "see the end of its log for the reason"
) -> LaunchError:
    """Return the error for a server that has ended by itself.

    Args:
        who: the server, as the subject of the message.
        code: its exit code; negative for the signal that ended it.
        command: the command that was run.
        tail: the last lines of its output.
        fix: what the user can do.
    """
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    log = "".join(f"\n  | {line}" for line in tail) or " it printed nothing."
    return LaunchError(f"{who} {how}:{log}", where=shell_command(*command), fix=fix, code="TFB6205")
