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
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1]), int(two.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle's models/ and serving/ as a server sees them: versions 1 and 2 of `rows`."""
    made = tmp_path / "bundle"
    (made / "models").mkdir(parents=True)
    (made / "models" / "rows").symlink_to(MODELS / "rows")
    (made / "serving").mkdir()
    (made / "serving" / "models.config").write_text(CONFIG.format(models="/models"))
    return made


@pytest.fixture
def deploy(folder: Path) -> Callable[..., Deployment]:
    """Makes a deployment of the folder at free ports; versions to wait for can be given."""

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
