"""Search for batching and thread settings: which settings are tried, and the command that tries them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bundler.cli.app import app
from bundler.spec.bundle_spec import read_spec
from serving.advise.search import Setting, layout_settings, size_settings, thread_settings
from serving.config.batching import BatchingParameters
from serving.server import parse_flags

BATCHED = Setting(1, 1, 64, BatchingParameters(max_batch_size=32, batch_timeout_micros=0, num_batch_threads=2))


def test_settings_fit_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.advise.search.cores", lambda: 2)
    assert [str(setting) for setting in thread_settings(64)] == ["grpc threads 64", "intra 1, inter 2"]
    one_batch, per_core = layout_settings(64, 1)
    assert one_batch.batching and one_batch.batching.max_batch_size == 64 and one_batch.grpc_threads == 64
    assert str(per_core) == "intra 1, inter 1, grpc threads 64, batches of 32, 2 at once, waiting 0 µs"
    sizes = [setting.batching.max_batch_size for setting in size_settings(per_core, 64, 1) if setting.batching]
    assert sizes == [8, 16, 64]
    large = layout_settings(2, 12)[0]
    assert large.batching and large.batching.max_batch_size == 32
    monkeypatch.setattr("serving.advise.search.cores", lambda: 1)
    assert (len(thread_settings(8)), len(layout_settings(8, 1))) == (1, 1)


def test_flags_are_the_servers_own() -> None:
    options = parse_flags(BATCHED.flags("/etc/batching.config"))
    assert (options.intra_op_threads, options.inter_op_threads, options.grpc_threads) == (1, 1, 64)
    assert (options.enable_batching, options.batching_parameters_file) == (True, "/etc/batching.config")
    assert Setting().flags("x") == () and str(Setting()) == "no flags"


@pytest.mark.slow
def test_the_command_tries_settings_and_prints_a_verdict(small_bundle: Path, tmp_path: Path) -> None:
    spec = tmp_path / "bundle.yaml"
    spec.write_text("models: []  # none\n")
    command = ["bench", "--bundle", str(small_bundle), "--advise", str(tmp_path / "tuned"), "--concurrency", "4"]
    result = CliRunner().invoke(app, [*command, "--seconds", "0.2", "--update-spec", str(spec)])
    assert result.exit_code == 0, result.output
    if (tmp_path / "tuned").exists():
        assert "times the requests/s of a server without flags" in result.stdout
        flags = (tmp_path / "tuned" / "server.flags").read_text().splitlines()
        assert [line for line in flags if line.startswith("--")]
        serving = read_spec(spec).serving
        assert serving.batching or serving.flags
        rendered = CliRunner().invoke(app, ["render", str(shutil.copytree(small_bundle, tmp_path / "b")), "--spec", str(spec)])
        assert rendered.exit_code == 0, rendered.output
    else:
        assert "Nothing was written." in result.stdout
        assert spec.read_text() == "models: []  # none\n"


@pytest.mark.parametrize("arguments", [[], ["127.0.0.1:1", "--advise", "x"]])
def test_the_command_needs_either_servers_or_advise(arguments: list[str], small_bundle: Path) -> None:
    result = CliRunner().invoke(app, ["bench", *arguments, "--bundle", str(small_bundle)])
    assert result.exit_code == 2
    assert "Give the servers to measure, or --advise DIR" in result.output
