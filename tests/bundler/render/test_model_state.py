"""model-state.sh, which probes and health checks run inside the container, against replies like those of the real server."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bundler.render import kubernetes
from serving.config.model_server import ModelServerConfig, ServedModel
from serving.config.version_policy import AllVersions
from tests import requirements

SCRIPT = kubernetes.TREE / kubernetes.STATE_SCRIPT
MODELS = Path(__file__).parents[2] / "serving" / "recorded" / "models"


@pytest.fixture(autouse=True)
def _bash() -> None:
    requirements.bash()


def state(port: int, *targets: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(SCRIPT), str(port), *targets]
    return subprocess.run(command, capture_output=True, text=True, timeout=20)


def status_body(*states: tuple[str, str]) -> str:
    """Return a status reply as the server formats it, with one (state, error_code) per version, newest first."""
    rows = [
        {
            "version": str(len(states) - i),
            "state": s,
            "status": {"error_code": code, "error_message": "AVAILABLE"},
        }
        for i, (s, code) in enumerate(states)
    ]
    return json.dumps({"model_version_status": rows}, indent=1) + "\n"


@contextmanager
def answering(bodies: Mapping[str, str], *, seconds: float = 0.0) -> Iterator[int]:
    """Run an HTTP server on a free port that answers each path with its body after so many seconds.

    Like the real one, it answers with status 200 whatever the state of the model.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # the name is http.server's
            time.sleep(seconds)
            body = bodies.get(self.path, '{"error": "Could not find any versions of model"}').encode()
            self.send_response(200 if self.path in bodies else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("states", "ready"),
    [
        ([("AVAILABLE", "OK")], True),
        ([("LOADING", "OK")], False),
        ([("START", "OK")], False),
        ([("UNLOADING", "OK")], False),
        ([("END", "UNAVAILABLE")], False),
        ([("AVAILABLE", "OK"), ("END", "OK")], True),
        ([("END", "UNKNOWN"), ("AVAILABLE", "OK")], True),
        ([], False),
    ],
)
def test_a_model_is_ready_if_a_version_is_available(states: list[tuple[str, str]], ready: bool) -> None:
    with answering({"/v1/models/digits": status_body(*states)}) as port:
        done = state(port, "digits")
    assert (done.returncode == 0) is ready
    assert ready or "digits is not AVAILABLE" in done.stderr


def test_all_targets_must_be_available() -> None:
    available, loading = status_body(("AVAILABLE", "OK")), status_body(("LOADING", "OK"))
    bodies = {"/v1/models/a": available, "/v1/models/b/versions/2": available, "/v1/models/c": loading}
    with answering(bodies) as port:
        assert state(port, "a", "b/versions/2").returncode == 0
        assert state(port, "a", "b/versions/2", "c").returncode == 1
        assert "b/versions/3 is not AVAILABLE" in state(port, "b/versions/3").stderr


def test_many_models_take_no_longer_than_the_slowest() -> None:
    models = [f"m{number}" for number in range(8)]
    bodies = {f"/v1/models/{name}": status_body(("AVAILABLE", "OK")) for name in models}
    with answering(bodies, seconds=0.5) as port:
        began = time.monotonic()
        assert state(port, *models).returncode == 0
        assert 0.5 <= time.monotonic() - began < 2.0


def test_a_closed_port_is_not_ready() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: no other process gets the port, and none answers
        done = state(taken.getsockname()[1], "digits")
    assert done.returncode == 1
    assert "nothing listens" in done.stderr


def test_a_missing_model_argument_is_wrong_usage() -> None:
    assert state(8501).returncode == 2


@pytest.mark.slow
def test_the_script_reads_the_state_of_the_embedded_server(tmp_path: Path) -> None:
    from serving import Server

    config = ModelServerConfig((ServedModel("rows", str(MODELS / "rows"), AllVersions()),))
    (tmp_path / "models.config").write_text(config.to_text())
    with Server(tmp_path / "models.config", rest_port=0) as server:
        assert server.rest_port is not None
        served = ("rows", "rows/versions/1", "rows/versions/2")
        deadline = time.monotonic() + 30  # the ports open with the first version; the others follow
        while state(server.rest_port, *served).returncode != 0 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert state(server.rest_port, *served).returncode == 0
        assert state(server.rest_port, "rows", "rows/versions/3").returncode == 1
        assert state(server.rest_port, "nope").returncode == 1
