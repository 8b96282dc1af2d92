"""The connection to a cluster: addresses, and the messages for what can go wrong before it stands."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bundler.errors import TfbundleError, UsageError
from bundler.many.cluster import session
from tests.bundler.cli.commands import run

MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.50.0
    Python: 3.12.1
This process on node 10.0.0.1 was started with:
    Ray: 2.60.0
    Python: 3.11.7
"""


@pytest.mark.parametrize("address", ["ray", "ray://head:10001", "ray://10.0.0.1:10001", "ray://[::1]:10001"])
def test_addresses_of_clusters(address: str) -> None:
    assert session.check_address(address) == address


@pytest.mark.parametrize("address", ["", "auto", "head:6379", "ray://head", "ray://head:0", "ray://head:70000", "http://head:8265"])
def test_other_texts_are_refused(address: str) -> None:
    with pytest.raises(UsageError, match="is not a cluster") as caught:
        session.check_address(address)
    assert caught.value.code == "TFB5252" and "ray://head:10001" in str(caught.value.fix)


def test_a_port_where_nobody_listens_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bundler.process.extras.require", lambda *arguments: None)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"ray://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(TfbundleError, match=r"No Ray cluster can be reached at .*: Connection refused") as caught:
            session.connected(address, 1).__enter__()
    assert caught.value.code == "TFB5252"


def test_other_versions_of_ray_or_python_are_named() -> None:
    error = session._refused(RuntimeError(MISMATCH), "the Ray cluster at ray://head:10001")
    assert error.what == (
        "The Ray cluster at ray://head:10001 has other versions: there ray 2.50.0 with Python 3.12.1; "
        "here ray 2.60.0 with Python 3.11.7."
    )
    assert error.code == "TFB5253"


def test_a_refusal_has_its_first_line_and_the_token() -> None:
    error = session._refused(ConnectionError("ray client connection timeout\nTraceback"), "the Ray cluster on this machine")
    assert error.what == "The Ray cluster on this machine does not take the connection: ray client connection timeout."
    assert "RAY_AUTH_TOKEN" in str(error.fix)


def test_a_token_of_the_user_is_sent_unless_the_environment_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with session._environment():
        session._use_token()
        assert "RAY_AUTH_MODE" not in os.environ
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
        session._use_token()
        assert os.environ["RAY_AUTH_MODE"] == "token" and os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert "RAY_AUTH_MODE" not in os.environ
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with session._environment():
        session._use_token()
        assert os.environ["RAY_AUTH_MODE"] == "disabled"


def test_without_ray_the_message_names_the_extra(mlp_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.extras.is_installed", lambda module: module != "ray")
    result = run("build", mlp_onnx, "--on", "ray", "-o", tmp_path / "out", "--cache", tmp_path / "cache", code=2)
    assert "TFB8001" in result.stderr and "pip install 'tfbundle[ray]'" in result.stderr
