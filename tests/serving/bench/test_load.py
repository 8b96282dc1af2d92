"""The load generator: counts, percentiles, failures, and no figures for a wrong answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bundler.cli.app import app
from bundler.errors import UsageError
from bundler.operations.bench import bench_request
from bundler.validation.bundle import Bundle
from serving import Server
from serving.bench.load import Load, measure
from serving.client.prepared_request import PreparedRequest
from serving.errors import ConnectionFailedError, ProtocolError, RequestError
from serving.launch.server_process import ServerEndpoints
from tests.serving.servers import small_server

X = {"x": np.float32([[1, 2, 3]])}


@pytest.fixture(scope="module")
def endpoints() -> Iterator[ServerEndpoints]:
    with small_server() as running:
        yield running


@pytest.fixture(scope="module")
def served(small_bundle: Path) -> Iterator[Server]:
    with Server(small_bundle) as running:
        yield running


def test_every_target_is_loaded_at_every_concurrency(endpoints: ServerEndpoints) -> None:
    targets = [endpoints.grpc_target, endpoints.rest_target]
    results = measure(targets, PreparedRequest("affine", X), [Load(1, 0.1), Load(3, 0.1)])
    assert [(r.over, r.concurrency) for r in results] == [("gRPC", 1), ("REST", 1), ("gRPC", 3), ("REST", 3)]
    for figures in results:
        assert figures.requests >= 5 * figures.concurrency  # each client in each turn
        assert (figures.failed, figures.failure, figures.rows) == (0, "", 1)
        assert 0 < figures.p50_ms <= figures.p90_ms <= figures.p99_ms <= figures.max_ms
        assert figures.per_second == pytest.approx(figures.requests / 0.1, rel=0.9)
        assert json.loads(json.dumps(figures.to_json()))["requests"] == figures.requests


def test_a_wrong_answer_gives_no_figures(endpoints: ServerEndpoints) -> None:
    want = {"y": np.float32([[5, 5, 5]])}
    with pytest.raises(ProtocolError, match="differs from PyTorch's"):
        measure([endpoints.grpc_target], PreparedRequest("affine", X, version=1, outputs=want), [Load(1, 0.1)])
    with pytest.raises(ProtocolError, match="no output 'z'"):
        measure([endpoints.grpc_target], PreparedRequest("affine", X, outputs={"z": X["x"]}), [Load(1, 0.1)])


def test_a_missing_or_refusing_server_is_reported_at_once(endpoints: ServerEndpoints) -> None:
    with pytest.raises(RequestError, match="UNAVAILABLE"):
        measure([endpoints.grpc_target], PreparedRequest("busy", X), [Load(1, 0.1)])
    with pytest.raises(ConnectionFailedError):
        measure(["127.0.0.1:1"], PreparedRequest("affine", X), [Load(1, 0.1)], timeout=2)


def test_requests_that_fail_later_are_counted(endpoints: ServerEndpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.bench.load._check", lambda client, request: None)
    for target in (endpoints.grpc_target, endpoints.rest_target):
        (figures,) = measure([target], PreparedRequest("busy", X), [Load(1, 0.05)])
        assert figures.requests == 0 and figures.failed >= 5
        assert figures.failure


def test_a_golden_call_of_the_requested_size_is_sent(small_bundle: Path) -> None:
    bundle = Bundle.open(small_bundle)
    single = bench_request(bundle)
    assert (single.model, single.rows, set(single.outputs)) == ("mlp", 1, {"y"})
    larger = bench_request(bundle, rows=3)
    assert (larger.rows, dict(larger.outputs)) == (3, {})
    np.testing.assert_array_equal(larger.inputs["x"][0], bench_request(bundle, rows=2).inputs["x"][0])
    with pytest.raises(UsageError, match="no signature 'z'"):
        bench_request(bundle, signature="z")


def test_the_command_prints_a_table_or_json(served: Server, small_bundle: Path) -> None:
    target = f"127.0.0.1:{served.grpc_port}"
    command = ["bench", target, f"http://127.0.0.1:{served.rest_port}", "--bundle", str(small_bundle), "--seconds", "0.1"]
    table = CliRunner().invoke(app, [*command, "--concurrency", "1,2"])
    assert table.exit_code == 0, table.output
    assert table.output.count(f"grpc://{target}") == 2 and "requests/s" in table.output
    figures = json.loads(CliRunner().invoke(app, [*command, "--concurrency", "2", "--json"]).stdout)
    assert [row["over"] for row in figures] == ["gRPC", "REST"]
    assert all(row["failed"] == 0 and row["p50_ms"] > 0 for row in figures)


@pytest.mark.parametrize("text", ["", "0", "1,x", "-1"])
def test_a_malformed_list_of_clients_is_wrong_usage(small_bundle: Path, text: str) -> None:
    result = CliRunner().invoke(app, ["bench", "127.0.0.1:1", "--bundle", str(small_bundle), "--concurrency", text])
    assert result.exit_code == 2
    assert "write it like 1,4,16" in result.output
