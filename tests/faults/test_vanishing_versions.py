"""Versions that vanish from disk, and bundles that change while they are served: no publication takes a model away."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import bundler
from serving import Client, Server
from serving.server.models.states import ManagerState, ServableState, wait_until
from tests.bundler.cli.commands import run as tfbundle

SECONDS = 60.0


@pytest.mark.slow
def test_no_build_or_promotion_takes_a_model_away(small_bundle: Path, mlp_onnx: Path, tmp_path: Path) -> None:
    """The server scans the bundle all the time; a version appears by one rename and is never replaced."""
    bundle = tmp_path / "small"
    shutil.copytree(small_bundle, bundle)
    available: set[int] = set()
    fewest = [1]

    def count(state: ServableState) -> None:
        if state.state is ManagerState.AVAILABLE:
            available.add(state.version)
        elif state.state in (ManagerState.UNLOADING, ManagerState.END):
            available.discard(state.version)
            fewest.append(len(available))

    with Server(bundle, poll_seconds=0.005) as server:
        available.update(state.version for state in server.core.board.versions("mlp"))
        server.core.board.subscribe(count)
        bundler.build(mlp_onnx, out=bundle)
        assert wait_until(lambda: server.core.board.is_available("mlp", 2), seconds=SECONDS)
        for version in (1, 2):
            tfbundle("promote", bundle, "--label", "stable", "--version", version, "--server", f"127.0.0.1:{server.grpc_port}")
            assert server.core.models()["mlp"]["stable"] == version
        lowest = min(fewest)
    assert lowest == 1


def test_model_whose_versions_vanish_is_not_found_and_comes_back(small_bundle: Path, tmp_path: Path) -> None:
    base = tmp_path / "mlp"
    shutil.copytree(small_bundle / "models" / "mlp", base)
    with Server(base, poll_seconds=0.05) as server, Client(f"127.0.0.1:{server.grpc_port}") as client:
        (base / "1").rename(tmp_path / "away")
        assert wait_until(lambda: server.core.board.get("mlp", 1).state is ManagerState.END, seconds=SECONDS)  # type: ignore[union-attr]
        assert [status.state for status in client.status("mlp")] == ["END"]
        (tmp_path / "away").rename(base / "1")
        client.wait_until_ready("mlp", 1, timeout=SECONDS)
        assert np.isfinite(next(iter(client.predict("mlp", x=np.zeros((1, 4), np.float32)).values()))).all()
