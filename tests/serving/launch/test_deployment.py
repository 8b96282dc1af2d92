"""Addresses of a deployment, as a client on the same machine sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.launch.deployment import Deployment


@pytest.mark.parametrize(
    ("host", "grpc", "rest"),
    [
        ("0.0.0.0", "127.0.0.1:8500", "127.0.0.1:8501"),
        ("::", "127.0.0.1:8500", "127.0.0.1:8501"),
        ("10.0.0.7", "10.0.0.7:8500", "10.0.0.7:8501"),
        ("::1", "[::1]:8500", "[::1]:8501"),
    ],
)
def test_targets(host: str, grpc: str, rest: str) -> None:
    deployment = Deployment(Path("/b"), "b", {}, host, 8500, 8501, lambda _: (), lambda _: {})
    assert (deployment.grpc_target, deployment.rest_target) == (grpc, rest)
