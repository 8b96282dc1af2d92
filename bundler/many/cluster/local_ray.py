"""A Ray cluster on this machine, for one build: `python -m bundler.many.cluster.local_ray PORT FOLDER CPUS`.

This process starts `ray start --head --block` and ends it when its own standard input does. So no process of Ray outlives the
build, whichever way that ends.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bundler.errors import TfbundleError
from bundler.process.worker import last_words

START_S = 180.0
"""The longest time that Ray may take to start; usually it takes 10 to 30 seconds on two cores."""

START_ATTEMPTS = 3
"""A node that is not up after 30 seconds gives up (ray/_private/node.py), which on a busy machine says nothing."""

_PATIENCE = {
    "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "120",
    "TIMEOUT_FOR_SPECIFIC_SERVER_S": "120",
    "RAY_agent_register_timeout_ms": "120000",
}
"""How long Ray's processes may take to start; its own limits, 15 and 30 seconds, are too short for a machine at work."""

_STORE_BYTES = 256 << 20
"""Memory for what is under way between processes; more goes to the disk."""
_LOG = "start.log"
_STOP_S = 30.0
_LONGEST_FOLDER = 40
"""Ray puts sockets below its folder, and the path of a socket has at most 107 characters."""


@contextmanager
def started(cpus: int) -> Iterator[str]:
    """Return a context with the address of a cluster of this machine alone.

    Its token keeps other users of the machine out.

    Args:
        cpus: how many tasks of one CPU may run at the same time.

    Raises:
        TfbundleError: Ray does not start.
    """
    parent = tempfile.gettempdir() if len(tempfile.gettempdir()) <= _LONGEST_FOLDER else "/tmp"
    folder = Path(tempfile.mkdtemp(prefix="tfb-", dir=parent))
    os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    try:
        for _ in range(START_ATTEMPTS):
            with _process(folder, cpus) as (process, port):
                if _is_up(port, process):
                    yield f"ray://127.0.0.1:{port}"
                    return
        raise TfbundleError(
            f"Ray could not be started on this machine: {last_words(folder / _LOG) or 'it said nothing'}",
            fix="run `ray start --head --block` to see why; or build without it, with --jobs",
            code="TFB5252",
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _process(folder: Path, cpus: int) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Return a context with the process that runs Ray, and the port that its client's server is going to have."""
    port = free_port()
    with (folder / _LOG).open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(port), str(folder), str(cpus)],
            env=_environment(), stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    assert process.stdin is not None
    try:
        yield process, port
    finally:
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(2 * _STOP_S)
        process.kill()
        process.wait()


def _is_up(port: int, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        time.sleep(0.1)
    return False


def _environment() -> dict[str, str]:
    """Return the environment of the cluster's processes, which import the same bundler."""
    root = str(Path(__file__).resolve().parents[3])
    return {**os.environ, **_PATIENCE, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}


def free_port() -> int:
    """Return a port of this machine that nobody uses."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
    return port


def main() -> None:
    """Run Ray until standard input ends."""
    port, folder, cpus = sys.argv[1:]
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port=0", f"--ray-client-server-port={port}",
        f"--num-cpus={cpus}", f"--temp-dir={folder}", f"--object-store-memory={_STORE_BYTES}", "--include-dashboard=false",
        "--disable-usage-stats", "--node-ip-address=127.0.0.1",
    ]  # fmt: skip
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    while process.poll() is None and not _ended(sys.stdin.fileno(), 1.0):
        pass
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_S)
    # Agents of a node that ended in another way stay; they all are in this session.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    sys.exit(process.poll() or 0)


def _ended(descriptor: int, timeout_s: float) -> bool:
    import select

    return bool(select.select([descriptor], [], [], timeout_s)[0]) and not os.read(descriptor, 1)


if __name__ == "__main__":
    main()
