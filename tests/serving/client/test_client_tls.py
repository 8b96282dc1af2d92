"""TLS over both transports, with a certificate made for the test."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serving import Client, ConnectionFailedError
from serving.launch.server_process import ServerEndpoints
from tests import requirements
from tests.serving.clients import each_client
from tests.serving.servers import small_server

client_class = each_client(__name__)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = [requirements.openssl(), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def endpoints(certificates: Path) -> Iterator[ServerEndpoints]:
    with small_server("--tls", str(certificates)) as endpoints:
        yield endpoints


def _target(endpoints: ServerEndpoints, kind: str) -> str:
    return f"grpcs://localhost:{endpoints.grpc_port}" if kind == "grpc" else f"https://localhost:{endpoints.rest_port}"


@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_a_trusted_certificate_is_accepted(endpoints: ServerEndpoints, certificates: Path, kind: str) -> None:
    trusted = (certificates / "cert.pem").read_bytes()
    with Client(_target(endpoints, kind), root_certificates=trusted) as client:
        x = np.ones((1, 3), np.float32)
        np.testing.assert_array_equal(client.predict("affine", x=x, version=1)["y"], x * 3)


@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_an_unknown_certificate_is_refused(endpoints: ServerEndpoints, kind: str) -> None:
    with Client(_target(endpoints, kind), timeout=5) as client, pytest.raises(ConnectionFailedError) as caught:
        client.status("affine")
    assert "certificate" in str(caught.value).lower()


@pytest.mark.parametrize("target", ["grpcs://127.0.0.1:1", "https://127.0.0.1:1"])
def test_what_to_do_names_the_certificate_when_no_connection_is_made(target: str) -> None:
    with Client(target, timeout=5) as client, pytest.raises(ConnectionFailedError) as caught:
        client.status("affine")
    assert "root_certificates" in str(caught.value)
