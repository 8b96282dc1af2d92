"""Tokens and headers: read again when their file changes, never shown, and never sent in the clear by accident."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving import Client, ConfigError, ConnectionSettings, Credentials, RequestError, TargetError
from serving.client.tokens import FileToken, token_source
from serving.client.transport import Target
from serving.launch.server_process import ServerEndpoints
from tests.serving.clients import each_client
from tests.serving.servers import small_server

client_class = each_client(__name__)
FIRST, SECOND = "header.first.signature", "header.second.signature"


class Renewed:
    """A token file as a kubelet keeps it: a link to a folder that is switched."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self.file = folder / "token"
        self.file.symlink_to("..data/token")

    def write(self, token: str) -> None:
        self._count += 1
        data = self._folder / f"data-{self._count}"
        data.mkdir()
        (data / "token").write_text(token)
        new = self._folder / "..new"
        new.symlink_to(data.name)
        new.rename(self._folder / "..data")


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the one token that the server accepts."""
    return tmp_path_factory.mktemp("server") / "token"


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server") / "headers"


@pytest.fixture(scope="module")
def endpoints(accepted: Path, headers: Path) -> Iterator[ServerEndpoints]:
    with small_server("--token-file", str(accepted), "--headers", str(headers)) as endpoints:
        yield endpoints


@pytest.fixture(params=["grpc", "rest"])
def target(request: pytest.FixtureRequest, endpoints: ServerEndpoints) -> str:
    return endpoints.grpc_target if request.param == "grpc" else endpoints.rest_target


def with_file(path: Path) -> ConnectionSettings:
    return ConnectionSettings(credentials=Credentials(token_file=path))


def test_a_token_that_changes_under_a_running_client_is_read_again(target: str, accepted: Path, tmp_path: Path) -> None:
    renewed = Renewed(tmp_path)
    accepted.write_text(FIRST)
    renewed.write(FIRST)
    with Client(target, connection=with_file(renewed.file)) as client:
        assert client.status("affine")
        renewed.write(SECOND + "\n")
        accepted.write_text(SECOND)
        assert client.status("affine")


def test_a_refused_token_is_read_again_once_although_its_file_looks_unchanged(
    target: str, accepted: Path, headers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileToken, "_state", lambda self: (1,))
    accepted.write_text(SECOND)
    file = tmp_path / "token"
    file.write_text(FIRST)
    with Client(target, connection=with_file(file)) as client:
        file.write_text(SECOND)
        assert client.status("affine")
        file.write_text(FIRST)
        accepted.write_text("header.third.signature")
        headers.write_text("")
        with pytest.raises(RequestError) as caught:
            client.status("affine")
    assert caught.value.code == "TFB7019" and str(file) in str(caught.value.fix)
    assert len(headers.read_text().splitlines()) == 2


@pytest.mark.parametrize("content", [None, " \n", "two tokens", "tök"])
def test_a_token_file_that_vanishes_or_holds_no_token_is_named(
    target: str, accepted: Path, tmp_path: Path, content: str | None
) -> None:
    accepted.write_text(FIRST)
    file = tmp_path / "token"
    file.write_text(FIRST)
    with Client(target, connection=with_file(file)) as client:
        assert client.status("affine")
        if content is None:
            file.unlink()
        else:
            file.write_text(content)
        with pytest.raises(ConfigError) as caught:
            client.wait_until_ready("affine", timeout=30)
        assert caught.value.code == "TFB7015" and str(file) in caught.value.what
        file.write_text(FIRST)
        assert client.status("affine")
    if content is None:
        with pytest.raises(ConfigError, match="No such file"):
            Client(target, connection=with_file(tmp_path / "none"))


def test_no_error_shows_a_token(target: str, accepted: Path, tmp_path: Path) -> None:
    accepted.write_text(SECOND)
    file = tmp_path / "token"
    file.write_text(FIRST)
    for credentials in (
        Credentials(token=FIRST),
        Credentials(token_file=file),
        Credentials(headers={"Authorization": f"Bearer {FIRST}", "x-other": FIRST}),
    ):
        settings = ConnectionSettings(credentials=credentials)
        with Client(target, connection=settings) as client, pytest.raises(RequestError) as caught:
            client.status("affine")
        texts = (repr(settings), repr(client), repr(caught.value), "".join(traceback.format_exception(caught.value)))
        assert not any(FIRST in text for text in texts)
    file.write_text(f"{FIRST} and more")
    with pytest.raises(ConfigError) as broken:
        token_source(Credentials(token_file=file), Target.parse("localhost:1"))
    assert FIRST not in "".join(traceback.format_exception(broken.value))


def test_headers_and_the_token_reach_the_server(target: str, accepted: Path, headers: Path) -> None:
    accepted.write_text(FIRST)
    headers.write_text("")
    credentials = Credentials({"X-Team": "vision", "x-trace": "a b"}, token=FIRST)
    with Client(target, connection=ConnectionSettings(credentials=credentials)) as client:
        assert client.status("affine", version=1)
    seen = json.loads(headers.read_text())
    assert (seen["x-team"], seen["x-trace"], seen["authorization"]) == ("vision", "a b", f"Bearer {FIRST}")
    assert seen["x-model-version"] == "1"


@pytest.mark.parametrize("target", ["models.example.com:8500", "http://10.0.0.1:8501", "10.0.0.1:8500,10.0.0.2:8500"])
@pytest.mark.parametrize("credentials", [{"token": FIRST}, {"headers": {"Authorization": "Basic eDp5"}}])
def test_secrets_leave_the_machine_without_tls_only_if_the_user_says_so(target: str, credentials: dict[str, str]) -> None:
    with pytest.raises(TargetError) as caught:
        Client(target, connection=ConnectionSettings(credentials=Credentials(**credentials)))
    assert caught.value.code == "TFB7016" and FIRST not in str(caught.value)
    allowed = Credentials(**credentials, allow_plaintext=True)
    Client(target, connection=ConnectionSettings(credentials=allowed)).close()
    for safe in ("grpcs://models.example.com:443", "https://models.example.com", "localhost:1", "[::1]:1", "unix:/tmp/s"):
        Client(safe, connection=ConnectionSettings(credentials=Credentials(**credentials))).close()
