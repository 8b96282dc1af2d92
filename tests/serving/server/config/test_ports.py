"""A port in use is reported at once, and not after the models have loaded."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.errors import ConfigError
from serving.server import Server, ServerOptions
from serving.server.config.ports import check_ports


@pytest.fixture
def taken() -> Iterator[int]:
    """Return a port that a process listens on until the end of the test."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize(("option", "interface"), [("grpc_port", "gRPC"), ("rest_port", "REST")])
def test_a_port_in_use_is_reported_within_a_second_and_before_any_model_is_loaded(
    small_bundle: Path, taken: int, option: str, interface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(small_bundle, **{option: taken})
    monkeypatch.setattr(server.core, "start", lambda config: pytest.fail("the models are loaded first"))
    start = time.perf_counter()
    with pytest.raises(ConfigError) as caught:
        server.start()
    assert time.perf_counter() - start < 1
    assert caught.value.what == f"{interface} cannot listen on 127.0.0.1:{taken}: Address already in use."
    assert option in str(caught.value.fix)


def test_free_ports_and_ports_that_the_system_chooses_pass(taken: int) -> None:
    check_ports(ServerOptions(grpc_port=0, rest_port=None))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    check_ports(ServerOptions(grpc_port=free, rest_port=0))


@pytest.mark.slow
def test_the_command_reports_a_port_in_use_without_importing_tensorflow(small_bundle: Path, taken: int) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "bundler", "serve", str(small_bundle), f"--port={taken}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=os.environ)
    assert done.returncode == 2
    assert f"error: gRPC cannot listen on 127.0.0.1:{taken}" in done.stderr
    assert "| tensorflow" not in done.stderr
