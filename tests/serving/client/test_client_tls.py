"""TLS over both transports, with a certificate made for the test."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from serving import Client, ConnectionFailedError
from tests import requirements
from tests.serving.servers import Ports, small_server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    command = [requirements.openssl(), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def ports(certificates: Path) -> Iterator[Ports]:
    with small_server("--tls", str(certificates)) as ports:
        yield ports


def _target(ports: Ports, kind: str) -> str:
    return f"grpcs://localhost:{ports.grpc}" if kind == "grpc" else f"https://localhost:{ports.rest}"


@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_a_trusted_certificate(ports: Ports, certificates: Path, kind: str) -> None:
    trusted = (certificates / "cert.pem").read_bytes()
    with Client(_target(ports, kind), root_certificates=trusted) as client:
        x = np.ones((1, 3), np.float32)
        np.testing.assert_array_equal(client.predict("affine", x=x, version=1)["y"], x * 3)


@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_an_unknown_certificate_is_refused(ports: Ports, kind: str) -> None:
    with Client(_target(ports, kind), timeout=5) as client, pytest.raises(ConnectionFailedError) as caught:
        client.status("affine")
    assert "certificate" in str(caught.value).lower()
