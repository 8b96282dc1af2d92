"""The lifetime of a launched server: start, wait until it is ready, and stop it whatever happens in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from serving.errors import LaunchError
from serving.launch.deployment import Deployment
from serving.launch.ready import check_ports, wait_until_available
from serving.launch.runner import Log, Runner

_POLL_SECONDS = 0.2


@contextmanager
def launched(runner: Runner, deployment: Deployment, *, timeout: float, log: Log) -> Iterator[None]:
    """Run a server in which every version is AVAILABLE; stop it and clean up at the end of the block.

    Args:
        runner: how the server is run.
        deployment: what it serves, and where.
        timeout: seconds from the start of the server until the last version is available.
        log: called with each line of the server's output, from another thread.

    Raises:
        TargetError: a port is in use.
        LaunchError: the server cannot be started, or has ended.
        NotReadyError: the versions were not available in time, or one cannot be loaded.
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
    """Wait until the server ends by itself, and return the reason."""
    while True:
        if error := runner.ended():
            return error
        time.sleep(_POLL_SECONDS)
