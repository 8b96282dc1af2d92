from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.launch import Deployment
from tests.serving.launch.executables import FakeDocker, fake_docker
from tests.serving.server.recordings import MODELS

CONFIG = """model_config_list {{ config {{
  name: "rows" base_path: "{models}/rows" model_platform: "tensorflow" model_version_policy {{ all {{}} }} }} }}
"""


def free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return int(first.getsockname()[1]), int(second.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle's models/ and serving/ as a server sees them: versions 1 and 2 of `rows`."""
    bundle = tmp_path / "bundle"
    (bundle / "models").mkdir(parents=True)
    (bundle / "models" / "rows").symlink_to(MODELS / "rows")
    (bundle / "serving").mkdir()
    (bundle / "serving" / "models.config").write_text(CONFIG.format(models="/models"))
    return bundle


@pytest.fixture
def deploy(folder: Path) -> Callable[..., Deployment]:
    """Return a function that makes a deployment of the folder at free ports, with the versions to wait for."""

    def make(*versions: int) -> Deployment:
        grpc, rest = free_ports()
        return Deployment(
            folder,
            "rows",
            {"rows": versions or (1, 2)},
            "127.0.0.1",
            grpc,
            rest,
            lambda configs: (
                f"--port={grpc}",
                f"--rest_api_port={rest}",
                f"--model_config_file={configs}/models.config",
                "--max_num_load_retries=0",
            ),
            lambda models: {"models.config": CONFIG.format(models=models)},
        )

    return make


@pytest.fixture
def docker(tmp_path: Path) -> FakeDocker:
    return fake_docker(tmp_path)
