"""The whole server: what it serves, and how it starts and stops."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.errors import ConfigError
from serving.protocol.status import StatusError
from serving.server import Server, ServerOptions
from tests.serving.processes import free_port
from tests.serving.server.calls import SECONDS, SINGLE, post, turns_for
from tests.serving.server.recordings import MODELS


@contextmanager
def in_a_process(base: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run `python -m serving.server` with one model. Yields the process, once it listens, and its REST port."""
    command = [sys.executable, "-m", "serving.server", "--model_name=m", f"--model_base_path={base}", *flags]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    port = 0
    for line in process.stderr:
        if "Exporting HTTP/REST API at:" in line:
            port = int(line.split("at:")[1].split(":")[1].split()[0])
            break
    drained = threading.Thread(target=process.stderr.read)
    drained.start()
    try:
        yield process, port
    finally:
        process.kill()
        process.wait()
        drained.join()
        process.stderr.close()


@pytest.mark.slow
def test_sigterm_answers_running_requests_and_refuses_new_ones(spinners: Path) -> None:
    flags = (f"--port={free_port()}", f"--rest_api_port={free_port()}")
    with in_a_process(spinners, *flags) as (process, port):
        url = f"http://127.0.0.1:{port}/v1/models/m:predict"
        body = json.dumps({"inputs": turns_for(2.0)}).encode()
        answers: list[Any] = []

        def slow() -> None:
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=SECONDS) as response:
                answers.append(json.load(response))

        threads = [threading.Thread(target=slow) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert not answers
        with pytest.raises(urllib.error.URLError, match="refused"):
            urllib.request.urlopen(url, b"{}", timeout=SECONDS)
        for thread in threads:
            thread.join()
        assert answers == [{"outputs": 2.0}] * 3
        assert process.wait(SECONDS) == 0


def test_sigterm_ends_a_server_that_still_waits_for_its_model(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "serving.server", f"--model_base_path={tmp_path / 'nothing'}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "Could not find base path" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, rest


def test_port_in_use_is_reported(base_path: Path) -> None:
    with Server(base_path) as server:
        with pytest.raises(ConfigError, match="gRPC cannot listen"):
            Server(base_path, grpc_port=server.grpc_port).start()
        with pytest.raises(ConfigError, match="REST cannot listen"):
            Server(base_path, rest_port=server.rest_port).start()


def test_nothing_to_serve_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to serve"):
        Server(tmp_path / "gone")
    (tmp_path / "model").mkdir()
    with pytest.raises(ConfigError, match=r"nothing to serve at .*neither a folder `models` nor folders of versions"):
        Server(tmp_path)


def test_broken_model_refuses_to_start(base_path: Path) -> None:
    os.truncate(base_path / "1" / "saved_model.pb", 100)
    with pytest.raises(StatusError, match=r"1 servable\(s\) did not become available"):
        Server(base_path).start()


def test_server_may_be_stopped_twice(base_path: Path) -> None:
    server = Server(base_path).start()
    server.stop()
    server.stop()
    with pytest.raises(urllib.error.URLError):
        post(server, "m:predict", SINGLE)


def test_bundle_folder_is_served_with_its_labels(tmp_path: Path) -> None:
    bundle = tmp_path / "dist"
    shutil.copytree(MODELS / "rows", bundle / "models" / "rows")
    shutil.copytree(MODELS / "strs", bundle / "models" / "strs")
    with Server(bundle) as running:
        assert post(running, "rows:predict", b'{"signature_name": "single", "instances": [[1, 1, 1, 1]]}')
        assert post(running, "strs:predict", b'{"signature_name": "scalar", "inputs": "abc"}') == {"outputs": 3}
    (bundle / "serving").mkdir()
    (bundle / "serving" / "models.config").write_text(
        'model_config_list { config { name: "rows" base_path: "/models/rows" model_platform: "tensorflow" '
        'model_version_policy { all {} } version_labels { key: "stable" value: 1 } } }'
    )
    with Server(bundle) as running:
        body = b'{"signature_name": "single", "instances": [[1, 1, 1, 1]]}'
        answer = post(running, "rows/labels/stable:predict", body)
        assert answer == {"predictions": [[1.0, 1.0, 1.0, 1.0]]}
        with pytest.raises(urllib.error.HTTPError, match="404"):
            post(running, "strs:predict", b'{"signature_name": "scalar", "inputs": "abc"}')


def test_server_listens_on_this_machine_only_by_default() -> None:
    assert replace(ServerOptions()).host == "127.0.0.1"
