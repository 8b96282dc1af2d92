"""The rendered config files and flags, used by the embedded server, with the probes' script against its ports."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from bundler.render import RenderContext, RenderedModel, kubernetes, tf_serving
from bundler.spec.bundle_spec import parse_spec
from serving import Client, Server
from serving.server.config.flags import parse_flags
from tests import requirements

MODELS = Path(__file__).parents[2] / "serving" / "recorded" / "models"


def free_ports() -> tuple[int, int]:
    with socket.socket() as grpc, socket.socket() as rest:
        grpc.bind(("127.0.0.1", 0))
        rest.bind(("127.0.0.1", 0))
        return grpc.getsockname()[1], rest.getsockname()[1]


@pytest.fixture
def bundle(tmp_path: Path) -> tuple[RenderContext, Path]:
    """Two recorded models in a bundle's layout, with labels on both versions of `rows`; batching and monitoring are on."""
    for name in ("rows", "clsreg"):
        shutil.copytree(MODELS / name, tmp_path / "models" / name)
    grpc, rest = free_ports()
    settings = {
        "grpc_port": grpc,
        "rest_port": rest,
        "labels": {"rows": {"stable": 1, "canary": 2}},
        "batching": True,
        "max_batch_size": 8,
        "allowed_batch_sizes": [4, 8],
    }
    spec = parse_spec({"serving": settings}, where="the test")
    models = (RenderedModel("rows", (1, 2), 2**14), RenderedModel("clsreg", (1,), 2**14))
    return RenderContext("recorded", spec, models), tmp_path


def wait_for(context: RenderContext, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run the startup probe's command until it succeeds or the time is over."""
    command = [
        "bash",
        str(kubernetes.TREE / kubernetes.STATE_SCRIPT),
        str(context.spec.serving.rest_port),
    ]
    deadline = time.monotonic() + seconds
    while True:
        done = subprocess.run(
            [*command, *tf_serving.state_targets(context)], capture_output=True, text=True
        )
        if done.returncode == 0 or time.monotonic() > deadline:
            return done
        time.sleep(0.1)


def test_the_embedded_server_serves_with_the_rendered_files_and_flags(bundle: tuple[RenderContext, Path]) -> None:
    context, root = bundle
    requirements.bash()
    tf_serving.render(context, root)
    config = root / "serving" / "models.config"
    text = config.read_text().replace(f'"{tf_serving.MODELS_DIR}/', f'"{root}/models/')
    config.write_text(text)
    flags = tf_serving.server_flags(context, str(root / "serving"))
    with Server(parse_flags(flags)):
        ready = wait_for(context, 30)
        assert ready.returncode == 0, ready.stderr
        x = np.array([[1, 2, 3, 4]], np.float32)
        with Client(f"localhost:{context.spec.serving.grpc_port}") as client:
            stable, first = (
                client.predict("rows", x=x, **choice) for choice in ({"label": "stable"}, {"version": 1})
            )
            np.testing.assert_array_equal(stable["y"], first["y"])
            np.testing.assert_array_equal(stable["y"], np.array([[10, 4, 1]], np.float32))
            canary = client.predict("rows", x=x, label="canary")
            assert canary["y"].shape == (1, 3)
    stopped = wait_for(context, 0)
    assert stopped.returncode == 1
    assert "nothing listens" in stopped.stderr
