"""Whether the system leaves a server enough file descriptors and threads.

Without this check, a server that runs out of them while it starts ends with a traceback in one of its libraries, or TensorFlow
aborts the process. What a server needs later grows with its connections, see `ulimit -n`.
"""

from __future__ import annotations

import os
import threading

from serving.errors import ConfigError

FILES = 64
"""File descriptors that have to be free: a server with one model uses about 20 before its first connection."""

THREADS = 32
"""Threads that it must be possible to start."""


def check_limits() -> None:
    """Raise if too few files can be opened or too few threads started. Takes a few milliseconds.

    Raises:
        ConfigError: with the number that is left.
    """
    _check_files()
    _check_threads()


def _check_files() -> None:
    handles: list[int] = []
    try:
        handles.append(os.open(os.devnull, os.O_RDONLY))
        while len(handles) < FILES:
            handles.append(os.dup(handles[0]))
    except OSError as exc:
        raise ConfigError(
            f"The server cannot start: only {len(handles)} more files can be opened ({exc.strerror}), and it needs {FILES}.",
            fix="raise the limit of open files, e.g. ulimit -n 4096, or LimitNOFILE= of a systemd service",
            code="TFB6006",
        ) from exc
    finally:
        for handle in handles:
            os.close(handle)


def _check_threads() -> None:
    end = threading.Event()
    started: list[threading.Thread] = []
    try:
        while len(started) < THREADS:
            thread = threading.Thread(target=end.wait, daemon=True)
            thread.start()
            started.append(thread)
    except (RuntimeError, MemoryError) as exc:
        raise ConfigError(
            f"The server cannot start: only {len(started)} more threads can be started, and it needs {THREADS}.",
            fix="raise the limit of processes: ulimit -u, TasksMax= of a systemd service, --pids-limit of a container",
            code="TFB6006",
        ) from exc
    finally:
        end.set()
        for thread in started:
            thread.join()
