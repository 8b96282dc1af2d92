"""Certificates that are not accepted, by the client or by the server: one clear message, at once, over gRPC and REST."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving import Client, ConnectionSettings, Tls, TlsError
from serving.launch.server_process import ServerEndpoints
from tests.serving.certificates import Authority, Pair
from tests.serving.clients import each_client
from tests.serving.servers import small_server

client_class = each_client(__name__)
X = np.ones((1, 3), np.float32)
KINDS = pytest.mark.parametrize("kind", ["grpc", "rest"])


class Pki:
    """The authorities and certificates of this module's servers and clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.stranger = Authority(folder), Authority(folder, "stranger")
        self.server = self.authority.issue("server")
        self.client = self.authority.issue("client")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


def serving_with(pair: Pair, *more: str) -> Any:
    return small_server("--certificate", str(pair.certificate), "--key", str(pair.key), *more)


@pytest.fixture(scope="module")
def mutual(pki: Pki) -> Iterator[ServerEndpoints]:
    """A server that requires client certificates."""
    with serving_with(pki.server, "--client-ca", str(pki.authority.file)) as endpoints:
        yield endpoints


@pytest.fixture(scope="module")
def expired(pki: Pki) -> Iterator[ServerEndpoints]:
    with serving_with(pki.authority.issue("expired", days=-1)) as endpoints:
        yield endpoints


@pytest.fixture(scope="module")
def renamed(pki: Pki) -> Iterator[ServerEndpoints]:
    """A server whose certificate is for models.example.com."""
    with serving_with(pki.authority.issue("renamed", "models.example.com")) as endpoints:
        yield endpoints


def target_of(endpoints: ServerEndpoints, kind: str) -> str:
    return f"grpcs://127.0.0.1:{endpoints.grpc_port}" if kind == "grpc" else f"https://127.0.0.1:{endpoints.rest_port}"


def refused(target: str, tls: Tls) -> TlsError:
    """Return the error of a client that waits for a model; it must not wait, as time does not help."""
    began = time.monotonic()
    with Client(target, connection=ConnectionSettings(tls=tls)) as client, pytest.raises(TlsError) as caught:
        client.wait_until_ready("affine", timeout=60)
    assert time.monotonic() - began < 30
    assert not caught.value.is_unexecuted
    return caught.value


@KINDS
def test_a_client_with_a_certificate_is_served(mutual: ServerEndpoints, pki: Pki, kind: str) -> None:
    tls = Tls(pki.authority.file, pki.client.certificate, pki.client.key)
    with Client(target_of(mutual, kind), connection=ConnectionSettings(tls=tls)) as client:
        np.testing.assert_array_equal(client.predict("affine", x=X, version=1)["y"], X * 2 + 1)


@KINDS
def test_a_client_without_a_certificate_is_told_that_one_is_required(mutual: ServerEndpoints, pki: Pki, kind: str) -> None:
    error = refused(target_of(mutual, kind), Tls(pki.authority.file))
    assert error.code == "TFB7017" and "requires a client certificate, and none is given" in error.what


@KINDS
def test_a_client_whose_certificate_is_a_strangers_is_told_so(mutual: ServerEndpoints, pki: Pki, kind: str) -> None:
    pair = pki.stranger.issue("unknown")
    error = refused(target_of(mutual, kind), Tls(pki.authority.file, pair.certificate, pair.key))
    assert error.code == "TFB7017" and f"does not accept the client certificate {pair.certificate}" in error.what


@KINDS
def test_a_client_whose_certificate_has_expired_is_told_so(mutual: ServerEndpoints, pki: Pki, kind: str) -> None:
    pair = pki.authority.issue("old", days=-1)
    error = refused(target_of(mutual, kind), Tls(pki.authority.file, pair.certificate, pair.key))
    assert error.code == "TFB7017" and f"The client certificate {pair.certificate} has expired" in error.what


@KINDS
def test_an_expired_certificate_of_the_server_is_named(expired: ServerEndpoints, pki: Pki, kind: str) -> None:
    error = refused(target_of(expired, kind), Tls(pki.authority.file))
    assert error.code == "TFB7011" and "has expired" in error.what


@KINDS
def test_a_wrong_authority_is_named(mutual: ServerEndpoints, pki: Pki, kind: str) -> None:
    error = refused(target_of(mutual, kind), Tls(pki.stranger.file))
    assert error.code == "TFB7010" and "not trusted" in error.what and str(pki.stranger.file) in str(error.where)


@KINDS
def test_a_certificate_for_another_name_is_accepted_once_the_user_names_it(
    renamed: ServerEndpoints, pki: Pki, kind: str
) -> None:
    target, tls = target_of(renamed, kind), Tls(pki.authority.file)
    error = refused(target, tls)
    assert error.code == "TFB7012" and "for another name" in error.what
    tls = Tls(pki.authority.file, server_name="models.example.com")
    with Client(target, connection=ConnectionSettings(tls=tls)) as client:
        assert client.status("affine")
