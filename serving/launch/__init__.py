"""Start a server for a bundle, wait until its models are available, and clean up afterwards.

The runners are `embedded.py` (this package's own server, in another process), `binary.py` (an installed
tensorflow_model_server) and `docker.py` (the image that the bundle names).

    with launched(DockerRunner(deployment, settings), timeout=120, log=print):
        ...                        # every version of every model is AVAILABLE
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
