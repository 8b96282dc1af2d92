"""From start to stop, whatever happens in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from serving.errors import LaunchError
from serving.launch.deployment import Deployment
from serving.launch.ready import check_ports, wait_until_available
from serving.launch.runner import Log, Runner

_LOOK_SECONDS = 0.2


@contextmanager
def launched(runner: Runner, deployment: Deployment, *, timeout: float, log: Log) -> Iterator[None]:
    """A server in which every version is AVAILABLE; it is stopped and cleaned up at the end of the block.

    Args:
        timeout: seconds from the start of the server until the last version is available.
        log: called with each line of the server's output, from another thread.

    Raises:
        TargetError: a port is in use.
        LaunchError: the server cannot be started, or ended.
        NotReadyError: it took too long, or cannot load a version.
    """
    check_ports(deployment, runner.hosts)
    try:
        runner.prepare(log)
        runner.start(log)
        wait_until_available(deployment.grpc_target, deployment.versions, seconds=timeout, ended=runner.ended)
        yield
    finally:
        runner.stop()


def wait_for_end(runner: Runner) -> LaunchError:
    """Wait until the server ends by itself, and say how."""
    while True:
        if error := runner.ended():
            return error
        time.sleep(_LOOK_SECONDS)
