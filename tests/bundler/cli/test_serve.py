"""tfbundle serve as a process: its flags, a new version while it runs, and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import bundler
from bundler.cli.app import app
from serving import Client
from serving.errors import ServingError


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    grpc, rest = free_port(), free_port()
    command = [sys.executable, "-m", "bundler", "serve", *map(str, arguments)]
    command += [f"--port={grpc}", f"--rest_api_port={rest}"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield child, grpc, rest
    finally:
        child.kill()
        child.communicate()


def wait(grpc: int, version: int) -> None:
    with Client(f"127.0.0.1:{grpc}") as client:
        client.wait_until_ready("mlp", version, timeout=60)


@pytest.mark.slow
def test_a_new_version_is_picked_up_without_a_failed_request(mlp_onnx: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    bundler.build(mlp_onnx, out=out)
    x = np.ones((2, 4), np.float32)
    seen: list[int] = []
    failed: list[str] = []
    with serving(out) as (child, grpc, rest):
        wait(grpc, 1)
        result = CliRunner().invoke(
            app, ["smoke", f"127.0.0.1:{grpc}", "--rest", f"127.0.0.1:{rest}", "--bundle", str(out)]
        )
        assert result.exit_code == 0, result.output
        stop = threading.Event()

        def send_requests() -> None:
            with Client(f"127.0.0.1:{grpc}") as client:
                while not stop.is_set():
                    try:
                        seen.append(client.predict("mlp", x=x)["y"].shape[0])
                    except ServingError as exc:
                        failed.append(str(exc))

        sender = threading.Thread(target=send_requests)
        sender.start()
        try:
            bundler.build(mlp_onnx, out=out)
            wait(grpc, 2)
            time.sleep(0.5)
        finally:
            stop.set()
            sender.join()
        child.send_signal(signal.SIGTERM)
        _, log = child.communicate(timeout=30)
        assert child.returncode == 0, log
    assert failed == []
    assert len(seen) > 10
    assert set(seen) == {2}
    assert "Traceback" not in log


def test_the_flags_of_tensorflow_model_server_work_without_a_bundle(small_bundle: Path) -> None:
    flags = ["--model_name=mlp", f"--model_base_path={small_bundle / 'models' / 'mlp'}"]
    with serving(*flags) as (child, grpc, _):
        wait(grpc, 1)
        child.send_signal(signal.SIGINT)
        _, log = child.communicate(timeout=30)
        assert child.returncode == 0, log


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "Usage"),
        (["--no_such_flag=1"], 2, "--no_such_flag=1"),
        (["--port=8500"], 1, "did not start"),
        (["nothing-here"], 1, "is not a bundle"),
        (["--model_config_file=/nothing/models.config"], 1, "/nothing/models.config"),
    ],
)
def test_wrong_arguments_are_an_error(arguments: list[str], code: int, words: str) -> None:
    result = CliRunner().invoke(app, ["serve", *arguments])
    assert result.exit_code == code, result.output
    assert words in result.output
    assert "Traceback" not in result.output


def test_the_version_is_that_of_the_server() -> None:
    result = CliRunner().invoke(app, ["serve", "--version"])
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == f"TensorFlow ModelServer: tfbundle {bundler.__version__}"


def test_a_port_in_use_is_an_error(small_bundle: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "bundler", "serve", str(small_bundle), f"--port={port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr
