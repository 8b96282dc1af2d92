"""tfbundle shadow: what it prints, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from serving.launch.server_process import ServerEndpoints
from tests.bundler.cli.commands import run
from tests.serving.request_logs import batches, predict, write_log
from tests.serving.servers import small_server


@pytest.fixture(scope="module")
def server() -> Iterator[ServerEndpoints]:
    with small_server() as endpoints:
        yield endpoints


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    entries = [predict(model, x=x) for model in ("affine", "grown", "busy") for x in batches(5, 3)]
    return write_log(tmp_path_factory.mktemp("log") / "requests.tfrecord", entries)


def test_result_is_a_table_with_the_worst_requests_and_a_verdict(server: ServerEndpoints, log: Path) -> None:
    result = run("shadow", server.grpc_target, "--requests", log, "--versions", 1, 2, "--worst", 1)
    lines = result.stdout.splitlines()
    assert lines[0] == "affine: version 1 and version 2"
    assert any(line.split()[:3] == ["serving_default/y", "5", "5"] for line in lines)
    assert any(line.startswith("record ") and "serving_default: output 'total' at [" in line for line in lines)
    assert "5 requests of the model 'grown' skipped." in lines
    assert lines[-1].startswith("0 of 5 requests agree (0 %, values within the tolerance), 5 differ; version 2 takes ")
    assert not result.stderr


def test_reasons_why_outputs_and_requests_cannot_be_compared_are_printed(server: ServerEndpoints, log: Path) -> None:
    grown = run("shadow", server.grpc_target, "--requests", log, "--versions", 1, 2, "--model", "grown").stdout
    assert "serving_default/y, 5 requests: expected shape [3, 3], got [3, 4]" in grown
    busy = run("shadow", server.grpc_target, "--requests", log, "--versions", 1, 2, "--model", "busy", code=1)
    assert "version 2 fails 5 requests with UNAVAILABLE, e.g. record 11 of requests.tfrecord: UNAVAILABLE: " in busy.stdout
    assert "error TFB9357: Nothing was compared" in busy.stderr


def test_bounds_decide_the_exit_code(server: ServerEndpoints, log: Path) -> None:
    command = ("shadow", server.grpc_target, "--requests", log, "--versions", 1, 2)
    run(*command, "--max-disagreement", 1, "--max-latency-ratio", 1000)
    run(*command, "--agree-on", "top1", "--max-disagreement", 0)
    differ = run(*command, "--max-disagreement", 0.5, code=3)
    assert "error TFB9358: The versions differ on 100 % of the requests; at most 50 % is allowed." in differ.stderr
    slow = run(*command, "--max-latency-ratio", 0.01, "--json", code=3)
    data = json.loads(slow.stdout)
    assert data["passed"] is False and "The median latency of version 2 is" in data["exceeded"][0]
    assert data["skipped"]["models"] == {"grown": 5, "busy": 5}


def test_damaged_log_ends_with_1_after_the_figures(server: ServerEndpoints, log: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(log.read_bytes()[:-3])
    result = run("shadow", server.grpc_target, "--requests", cut, "--versions", 1, 2, "--max-disagreement", 0, code=1)
    assert "0 of 5 requests agree" in result.stdout
    assert "error TFB9354: The comparison is not complete." in result.stderr and "ends within the record" in result.stderr


def test_report_and_json_are_written_together(server: ServerEndpoints, log: Path, tmp_path: Path) -> None:
    file = tmp_path / "shadow.md"
    result = run("shadow", server.rest_target, "--requests", log, "--versions", 1, 2, "--json", "--report", file, "--limit", 2)
    assert json.loads(result.stdout)["requests"] == 2
    assert file.read_text("utf-8").startswith("# affine: version 1 and version 2\n")
    assert f"Wrote the report to {file}." in result.stderr.replace("\n", "")


def test_interrupted_command_prints_the_figures_so_far(
    server: ServerEndpoints, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def interrupting(as_json: bool) -> Iterator[Any]:
        def interrupt(tally: Any) -> None:
            raise KeyboardInterrupt

        yield interrupt

    monkeypatch.setattr("bundler.cli.shadow._progress", interrupting)
    result = run("shadow", server.grpc_target, "--requests", log, "--versions", 1, 2, "--json", code=130)
    data = json.loads(result.stdout)
    assert data["complete"] is False and data["incomplete"][0].startswith("It was interrupted after ")
    assert "Interrupted: The figures are those of the requests before." in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "TFB1001: Give either --versions or --labels."),
        (("--versions", 1, 2, "--labels", "a", "b"), 2, "TFB1001"),
        (("--versions", 1), 2, "TFB1007"),
        (("--versions", 1, 1), 2, "TFB9353"),
        (("--versions", 1, 9), 1, "TFB9352"),
        (("--labels", "stable", "nope"), 1, "TFB9352"),
        (("--versions", 1, 2, "--agree-on", "classes"), 2, "TFB1002"),
        (("--versions", 1, 2, "--report", "a.html"), 2, "TFB1002"),
        (("--versions", 1, 2, "--plot", "a.doc"), 2, "TFB1002"),
        (("--versions", 1, 2, "--model", "ocr"), 1, "TFB9351"),
        (("--versions", 1, 2, "--output", "z"), 1, "TFB9356"),
        (("--versions", 1, 2, "--output", "total", "--agree-on", "top1"), 1, "TFB9355"),
    ],
)
def test_mistakes_are_explained(server: ServerEndpoints, log: Path, arguments: tuple[Any, ...], code: int, message: str) -> None:
    assert message in run("shadow", server.grpc_target, "--requests", log, *arguments, code=code).stderr


def test_server_that_cannot_be_reached_and_missing_log_are_explained(log: Path) -> None:
    assert "TFB7002" in run("shadow", "127.0.0.1:1", "--requests", log, "--versions", 1, 2, code=1).stderr
    assert "TFB7202" in run("shadow", "127.0.0.1:1", "--requests", "none", "--versions", 1, 2, code=1).stderr
    assert "TFB7001" in run("shadow", "nonsense", "--requests", log, "--versions", 1, 2, code=2).stderr
