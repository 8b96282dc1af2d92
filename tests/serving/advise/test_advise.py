"""Advice on batching and threads: what is tried, what is judged better, what is written; and servers of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from bundler.cli.app import app
from serving.advise.advise import Advice, Setting, Trial, layout_settings, size_settings, thread_settings
from serving.advise.files import verdict, write_advice
from serving.bench.load import Load, LoadFigures, measure
from serving.client.requests import PreparedRequest
from serving.config.batching import BatchingParameters
from serving.errors import NotReadyError
from serving.launch.server_process import server_process
from serving.server import parse_flags

REQUEST = PreparedRequest("m", {"ids": np.zeros((2, 7), np.int64), "x": np.zeros(2, np.float32)})
BATCHED = Setting(1, 1, 64, BatchingParameters(max_batch_size=32, batch_timeout_micros=0, num_batch_threads=2))


def figures(per_second: float, *, clients: int = 64, failed: int = 0) -> LoadFigures:
    return LoadFigures("grpc://a:1", "gRPC", "m", 2, clients, 100, failed, per_second, 1, 1, 2, 3.5, 4)


def advice(gain: float, setting: Setting = BATCHED, *, failed: int = 0) -> Advice:
    loaded = Trial(setting, figures(100 * gain, failed=failed), figures(100))
    alone = Trial(setting, figures(50, clients=1), figures(49, clients=1))
    return Advice(REQUEST, (loaded,), (loaded, alone))


def test_settings_fit_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.advise.advise.cores", lambda: 2)
    assert [str(setting) for setting in thread_settings(64)] == ["grpc threads 64", "intra 1, inter 2"]
    one, each = layout_settings(64, 1)
    assert one.batching and one.batching.max_batch_size == 64 and one.grpc_threads == 64
    assert str(each) == "intra 1, inter 1, grpc threads 64, batches of 32, 2 at once, waiting 0 µs"
    sizes = [setting.batching.max_batch_size for setting in size_settings(each, 64, 1) if setting.batching]
    assert sizes == [8, 16, 64]
    large = layout_settings(2, 12)[0]
    assert large.batching and large.batching.max_batch_size == 32
    monkeypatch.setattr("serving.advise.advise.cores", lambda: 1)
    assert (len(thread_settings(8)), len(layout_settings(8, 1))) == (1, 1)


def test_flags_are_the_servers_own() -> None:
    options = parse_flags(BATCHED.flags("/etc/batching.config"))
    assert (options.intra_op_threads, options.inter_op_threads, options.grpc_threads) == (1, 1, 64)
    assert (options.enable_batching, options.batching_parameters_file) == (True, "/etc/batching.config")
    assert Setting().flags("x") == () and str(Setting()) == "no flags"


def test_files_have_the_figures_and_are_read_back(tmp_path: Path) -> None:
    flags, batching = write_advice(advice(2.0), tmp_path / "tuned")
    text = batching.read_text()
    assert BatchingParameters.from_text(text).max_batch_size == 32
    assert "     64  these          200.0      1.00      3.50" in text
    assert "requests of one" in text and "ids" in text and "max_batch_size: 32" in text
    given = [line for line in flags.read_text().splitlines() if not line.startswith("#")]
    assert given == list(BATCHED.flags(str(batching)))
    assert "2.00 times" in verdict(advice(2.0))


@pytest.mark.parametrize(("gain", "failed"), [(1.02, 0), (0.7, 0), (3.0, 1)])
def test_nothing_is_written_where_none_is_better(gain: float, failed: int, tmp_path: Path) -> None:
    found = advice(gain, failed=failed)
    assert found.best is None and not found.to_json()["better"]
    assert write_advice(found, tmp_path / "tuned") == []
    assert not (tmp_path / "tuned").exists()
    assert verdict(found).startswith("No setting serves 64 clients better")


def test_threads_alone_need_no_batching_file(tmp_path: Path) -> None:
    (tmp_path / "batching.config").write_text("max_batch_size { value: 2 }")
    assert [path.name for path in write_advice(advice(1.5, Setting(1, 2)), tmp_path)] == ["server.flags"]
    assert not (tmp_path / "batching.config").exists()


def test_a_server_process_serves_with_flags_and_says_why_not(small_bundle: Path, tmp_path: Path) -> None:
    config = tmp_path / "batching.config"
    config.write_text("max_batch_size { value: 8 } num_batch_threads { value: 1 }")
    flags = ["--enable_batching=true", f"--batching_parameters_file={config}"]
    request = PreparedRequest("mlp", {"x": _input(small_bundle)})
    with server_process(small_bundle, flags) as endpoints:
        (served,) = measure([endpoints.grpc], request, [Load(4, 0.2)])
        assert served.failed == 0 and served.requests > 4
    config.write_text("num_batch_threads { value: 0 }")
    with pytest.raises(NotReadyError, match="num_batch_threads must be positive; was 0"), server_process(small_bundle, flags):
        pass


def _input(bundle: Path) -> np.ndarray:
    from bundler.operations.bench import bench_request
    from bundler.validation.bundle import Bundle

    return bench_request(Bundle.open(bundle)).inputs["x"]


@pytest.mark.slow
def test_the_command_tries_settings_and_tells(small_bundle: Path, tmp_path: Path) -> None:
    command = ["bench", "--bundle", str(small_bundle), "--advise", str(tmp_path / "tuned"), "--concurrency", "4"]
    result = CliRunner().invoke(app, [*command, "--seconds", "0.2"])
    assert result.exit_code == 0, result.output
    if (tmp_path / "tuned").exists():
        assert "times the requests/s of a server without flags" in result.stdout
        assert (tmp_path / "tuned" / "server.flags").read_text().count("--") >= 1
    else:
        assert "Nothing was written." in result.stdout


def test_a_curve_is_drawn_for_several_sizes(small_bundle: Path, tmp_path: Path) -> None:
    curve = tmp_path / "curve.svg"
    with server_process(small_bundle) as endpoints:
        command = ["bench", endpoints.grpc, "--bundle", str(small_bundle), "--seconds", "0.1", "--concurrency", "1,2"]
        result = CliRunner().invoke(app, [*command, "--batch", "1,2", "--plot", str(curve)])
        assert result.exit_code == 0, result.output
        assert "requests of several sizes" in result.stdout
        wrong = CliRunner().invoke(app, [*command, "--plot", str(tmp_path / "curve.doc")])
        assert wrong.exit_code == 2 and ".svg, .png, .pdf" in wrong.output
    assert "<svg" in curve.read_text()


@pytest.mark.parametrize("arguments", [[], ["127.0.0.1:1", "--advise", "x"]])
def test_servers_or_advice(arguments: list[str], small_bundle: Path) -> None:
    result = CliRunner().invoke(app, ["bench", *arguments, "--bundle", str(small_bundle)])
    assert result.exit_code == 2
    assert "Give the servers to measure, or --advise DIR" in result.output
