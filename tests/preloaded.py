"""Processes that start as copies of one that has imported TensorFlow already, so that each starts in a tenth of the time.

`with preloaded():` replaces `subprocess.Popen`. Within the block, `python -m MODULE` of the modules below is forked from a
process that has imported them (`python -m tests.preloaded`). It runs MODULE as `__main__`, with the arguments, folder,
environment and streams that Popen would give it, and is a child of the caller: signals, exit codes and time-outs work as ever.
All other commands, and those with options or variables that the imports would have had to see, start in the usual way.

`make test` sets TFBUNDLE_TESTS_PRELOAD=1, which puts all tests in such a block; `make test-all` starts every process afresh.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ENABLED = "TFBUNDLE_TESTS_PRELOAD"
MODULES = (
    "serving.server", "serving.server.child", "bundler.tflite.worker", "bundler.tflite.fast_path_worker",
    "bundler.converters.onnx_tf_worker", "bundler.many.worker", "tests.bundler.many.in_process",
)  # fmt: skip
"""Modules whose processes are forked; all of them import TensorFlow."""

COMMANDS = ("build", "serve")
"""Commands of `python -m bundler` whose processes are forked, except for their help."""

_IMPORTED = (
    "tensorflow", "onnx", "ai_edge_litert.interpreter", "serving.server.server", "bundler.cli.app",
    "bundler.pipeline", "bundler.converters.native", "bundler.validation.parity", "bundler.tflite.exchange",
    "bundler.tflite.quantize", "bundler.tflite.runner", "bundler.tflite.sensitivity", "bundler.tflite.variants",
    "bundler.tflite.fast_path",
)  # fmt: skip
_STARTS_A_THREAD = "onnxruntime"
"""A package whose import starts a thread, which a forked process lacks and would wait for at its end."""

_READ_EARLY = (
    "TF_", "PYTHON", "LD_", "LANG", "LC_", "MALLOC_", "OMP_", "OPENBLAS_", "MKL_", "DNNL_", "ONEDNN_", "GRPC_", "COVERAGE_"
)  # fmt: skip
"""Beginnings of the variables that are read when a process starts or imports something."""

_ONLY_SPEED = "_THREADS"
"""The end of the variables that limit threads, and change no result."""

_ROOT = Path(__file__).parents[1]
_PR_SET_CHILD_SUBREAPER = 36
_LENGTH_BYTES = 8
_ADOPTED = b"a"
"""Sent once the process that forked the new one has ended, so that the new one is a child of the caller."""


def is_supported() -> bool:
    """Return whether processes can be forked here: it takes Linux, and coverage follows no forked process."""
    return sys.platform == "linux" and not any(name.startswith("COVERAGE_") for name in os.environ)


def _read_early(environment: Mapping[str, str]) -> dict[str, str]:
    read = {name: value for name, value in environment.items() if name.startswith(_READ_EARLY)}
    return {name: value for name, value in read.items() if not name.endswith(_ONLY_SPEED)}


@dataclass(frozen=True)
class _Start:
    """How a process starts: `python -m arguments` with an environment, in a folder, and maybe in a session of its own."""

    arguments: list[str]
    environment: dict[str, str]
    folder: str
    in_new_session: bool


class _Preloaded:
    """The process to fork from. It has the environment in which it is made, and starts with the first command that it can run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = dict(os.environ)

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Return whether the imports have seen what a process with this environment would have to see."""
        return _read_early(environment) == _read_early(self._environment)

    def fork(self, start: _Start, streams: list[int]) -> int:
        """Return the id of a new process, a child of this one, that has these streams as 0, 1 and 2."""
        with self._lock:
            if self._process is None:
                self._start()
            _adopt_orphans(True)
            try:
                request = json.dumps(asdict(start)).encode()
                socket.send_fds(self._socket, [len(request).to_bytes(_LENGTH_BYTES, "big")], streams)
                self._socket.sendall(request)
                child = int.from_bytes(_received(self._socket, _LENGTH_BYTES), "big")
                assert _received(self._socket, 1) == _ADOPTED
                return child
            finally:
                _adopt_orphans(False)

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.preloaded", str(theirs.fileno())], cwd=_ROOT, env=self._environment,
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip

    def close(self) -> None:
        """End the process; those forked from it go on."""
        if self._process is not None:
            self._socket.close()
            self._process.wait()
            self._process = None


def _adopt_orphans(adopt: bool) -> None:
    """Let a process become a child of this one when its parent, a descendant of this one, ends."""
    assert ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0) == 0


def _received(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise EOFError("the preloaded process has ended")
        data += chunk
    return data


class _Popen(subprocess.Popen):  # type: ignore[type-arg]
    """Starts `python -m MODULE` as a copy of the preloaded process."""

    preloaded: _Preloaded

    def _execute_child(  # type: ignore[no-untyped-def]
        self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *others,
    ) -> None:  # fmt: skip
        """See CPython's method; `others` is restore_signals, gid, gids, uid, umask, start_new_session, process_group."""
        is_plain = executable is None and close_fds and not (preexec_fn or pass_fds or shell)
        is_plain = is_plain and all(value in (None, -1) for value in (*others[1:5], *others[6:]))
        environment = os.environ if env is None else env
        if not (is_plain and _runs_a_module(args) and self.preloaded.fits(environment)):
            super()._execute_child(  # type: ignore[misc]
                args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
                p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, *others,
            )  # fmt: skip
            return
        streams = [number if theirs == -1 else theirs for number, theirs in enumerate((p2cread, c2pwrite, errwrite))]
        folder = os.path.realpath(cwd or ".")
        self.pid = self.preloaded.fork(_Start(list(args[2:]), dict(environment), folder, others[5]), streams)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


def _runs_a_module(args: Any) -> bool:
    return (
        not isinstance(args, (str, bytes, os.PathLike))
        and list(args[:2]) == [sys.executable, "-m"]
        and args[2] in MODULES
    )


@contextmanager
def preloaded() -> Iterator[None]:
    """Fork the processes of MODULES from a preloaded one within the block."""

    class Popen(_Popen):
        preloaded = _Preloaded()

    original = subprocess.Popen
    subprocess.Popen = Popen  # type: ignore[misc]
    try:
        yield
    finally:
        subprocess.Popen = original  # type: ignore[misc]
        Popen.preloaded.close()


def _serve(connection: socket.socket) -> list[str]:
    """Fork a process for each request until the connection ends. Return, in each of them, the arguments after `python -m`."""
    while True:
        length, streams, _, _ = socket.recv_fds(connection, _LENGTH_BYTES, 3)
        if not length:
            sys.exit(0)
        request = _received(connection, int.from_bytes(length, "big"))
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # the other thread is that of OpenBLAS, which handles forks
            between = os.fork()
        if between == 0:
            between, child = os.getpid(), os.fork()
            if child == 0:
                connection.close()
                while os.getppid() == between:
                    time.sleep(0.001)
                return _become(_Start(**json.loads(request)), streams)
            connection.sendall(child.to_bytes(_LENGTH_BYTES, "big"))
            os._exit(0)
        for stream in streams:
            os.close(stream)
        os.waitpid(between, 0)
        connection.sendall(_ADOPTED)


def _become(start: _Start, streams: list[int]) -> list[str]:
    if start.in_new_session:
        os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in streams:
        os.close(stream)
    os.environ.clear()
    os.environ.update(start.environment)
    os.chdir(start.folder)
    sys.path[0] = start.folder
    return start.arguments


def _main() -> None:
    """Import everything, then serve; the forked process goes on where its MODULE begins."""
    from serving.imports import leave_keras_out

    leave_keras_out()
    connection = socket.socket(fileno=int(sys.argv[1]))
    for name in _IMPORTED:
        importlib.import_module(name)
    assert _STARTS_A_THREAD not in sys.modules
    gc.collect()
    gc.freeze()  # the processes share the memory of what they do not write to
    module, *arguments = _serve(connection)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
