"""Start a server for a bundle, wait until what was asked for is served, and leave nothing behind.

    with launched(DockerRunner(deployment, settings), timeout=120, log=print):
        ...                        # every version of every model is AVAILABLE

    deployment.py   what is to be served, and where
    runner.py       what a runner is; a server that is a process of this machine
    embedded.py     this package's own server, in another process
    binary.py       a tensorflow_model_server that is installed here
    docker.py       the image that the bundle names
    ready.py        ports, and waiting for AVAILABLE
    lifetime.py     start, wait, stop; in this order whatever happens
"""

from __future__ import annotations

from serving.launch.binary import BinaryRunner
from serving.launch.deployment import Deployment
from serving.launch.docker import DockerRunner, DockerSettings
from serving.launch.embedded import EmbeddedRunner
from serving.launch.lifetime import launched, wait_for_end
from serving.launch.runner import Runner

__all__ = [
    "BinaryRunner",
    "Deployment",
    "DockerRunner",
    "DockerSettings",
    "EmbeddedRunner",
    "Runner",
    "launched",
    "wait_for_end",
]
