"""Requests of foreign web pages."""

from __future__ import annotations

import pytest

from serving.server.config.options import ServerOptions
from serving.server.rest_api.origins import refusal

LOCAL = ServerOptions()
OPEN = ServerOptions(host="0.0.0.0")


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8501", "LocalHost:1", "127.0.0.1", "127.1.2.3:8501", "[::1]", "[::1]:8501", "app.localhost"],
)
@pytest.mark.parametrize("listens", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_server_on_localhost_answers_its_own_names(listens: str, host: str) -> None:
    assert refusal("GET", {"host": host}, ServerOptions(host=listens)) is None


@pytest.mark.parametrize(
    "host",
    ["attacker.example", "attacker.example:8501", "localhost.attacker.example", "127.0.0.1.nip.io", "10.0.0.1", "", "[::2]",
     "localhost@attacker.example", "attacker.example/localhost", "[", "::1", "notlocalhost"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_server_on_localhost_refuses_other_names(method: str, host: str) -> None:
    error = refusal(method, {"host": host}, LOCAL)
    assert error
    assert "--allowed_hosts" in error


def test_server_on_all_addresses_answers_any_name() -> None:
    assert refusal("POST", {"host": "models.example"}, OPEN) is None


def test_allowed_hosts_hold_on_all_addresses() -> None:
    options = ServerOptions(host="0.0.0.0", allowed_hosts=("models.example",))
    assert refusal("GET", {"host": "Models.Example:80"}, options) is None
    assert refusal("GET", {"host": "localhost"}, options) is None
    assert refusal("GET", {"host": "other.example"}, options)


def test_all_hosts_can_be_allowed_on_localhost() -> None:
    assert refusal("GET", {"host": "proxy"}, ServerOptions(allowed_hosts=("*",))) is None


def test_request_without_host_and_origin_is_answered() -> None:
    assert refusal("POST", {}, LOCAL) is None


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:8501", "localhost:8501"),
        ("http://127.0.0.1", "127.0.0.1:80"),
        ("https://localhost", "localhost:443"),
        ("http://[::1]:8501", "[::1]:8501"),
    ],
)
def test_page_of_the_server_may_post(origin: str, host: str) -> None:
    assert refusal("POST", {"host": host, "origin": origin}, LOCAL) is None


@pytest.mark.parametrize(
    "origin",
    ["http://attacker.example", "null", "http://localhost:3000", "http://localhost", "", "http://", "file://", "http://[",
     "http://localhost:8501.attacker.example", "http://localhost:99999"],
)  # fmt: skip
def test_foreign_page_may_not_post(origin: str) -> None:
    headers = {"host": "localhost:8501", "origin": origin}
    error = refusal("POST", headers, LOCAL)
    assert error
    assert "--rest_api_enable_cors_support" in error
    assert refusal("GET", headers, LOCAL) is None


def test_foreign_page_may_post_with_cors_support() -> None:
    headers = {"host": "localhost", "origin": "http://other.example"}
    assert refusal("POST", headers, ServerOptions(rest_cors=True)) is None


def test_page_of_an_allowed_host_may_post() -> None:
    headers = {"host": "10.0.0.1:8501", "origin": "https://app.example"}
    assert refusal("POST", headers, OPEN)
    assert refusal("POST", headers, ServerOptions(host="0.0.0.0", allowed_hosts=("app.example", "10.0.0.1"))) is None


def test_page_behind_a_proxy_may_post() -> None:
    headers = {"host": "backend:8501", "x-forwarded-host": "app.example", "origin": "https://app.example"}
    assert refusal("POST", headers, OPEN) is None
