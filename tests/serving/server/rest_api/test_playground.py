"""The playground over HTTP: the page, the list of models, other paths, and the flag."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from serving.server import Server, parse_flags
from serving.server.rest_api.playground import FOLDER, SCRIPTS, read_page
from tests.requirements import require_program
from tests.serving.server.recordings import MODELS


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("config") / "models.config"
    config.write_text(
        "model_config_list {"
        f'  config {{ name: "rows" base_path: "{MODELS / "rows"}" model_platform: "tensorflow"'
        '           model_version_policy { all {} } version_labels { key: "stable" value: 1 } }'
        f'  config {{ name: "nodefault" base_path: "{MODELS / "nodefault"}" model_platform: "tensorflow" }} }}'
    )
    with Server(config) as running:
        yield running


def request(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    assert server.rest_port is not None
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


def test_page_is_one_document_with_a_strict_policy(server: Server) -> None:
    status, headers, body = request(server, "/", Accept="text/html,*/*;q=0.8")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    page = body.decode()
    assert len(re.findall("<script>", page)) == len(re.findall("<style>", page)) == 1
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert request(server, "/", "HEAD")[0] == 200


def test_models_and_labels_are_listed_as_json(server: Server) -> None:
    status, headers, body = request(server, "/", Accept="application/json")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    models = [{"name": "rows", "labels": {"stable": 1}}, {"name": "nodefault", "labels": {}}]
    assert json.loads(body) == {"models": models, "grpc": {"port": server.grpc_port, "tls": False}}


@pytest.mark.parametrize(
    ("path", "method"),
    [("/", "POST"), ("/", "OPTIONS"), ("/?x=1", "GET"), ("//", "GET"), ("/index.html", "GET"), ("/page/main.js", "GET"),
     ("/favicon.ico", "GET"), ("/v1", "GET")],
)  # fmt: skip
def test_other_paths_and_methods_are_the_real_servers_404(path: str, method: str, server: Server) -> None:
    status, headers, body = request(server, path, method, Accept="application/json")
    assert (status, headers["Content-Type"]) == (404, "text/html")
    assert b"<H1>Not Found</H1>" in body


def test_flag_turns_the_playground_off() -> None:
    flags = ["--rest_api_port=1", f"--model_base_path={MODELS / 'rows'}", "--enable_playground=false"]
    with Server(replace(parse_flags(flags), grpc_port=0, rest_port=0)) as running:
        assert request(running, "/")[0] == request(running, "/", Accept="application/json")[0] == 404
    assert parse_flags(flags[:2]).playground


def test_every_file_of_the_page_is_used() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*SCRIPTS, "index.html", "style.css"}
    assert "</script" not in "".join((FOLDER / name).read_text("utf-8") for name in SCRIPTS)


def test_scripts_never_insert_markup() -> None:
    for name in SCRIPTS:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", (FOLDER / name).read_text("utf-8")
        )


def test_script_is_valid_javascript(tmp_path: Path) -> None:
    node = require_program("node", install="apt-get install nodejs")
    script = tmp_path / "page.js"
    script.write_bytes(read_page().html.split(b"<script>")[1].split(b"</script>")[0])
    assert subprocess.run([node, "--check", script], capture_output=True, check=False).returncode == 0
