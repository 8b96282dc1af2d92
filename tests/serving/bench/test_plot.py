"""The plot of a load test."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bundler.cli.app import app
from serving.launch.server_process import server_process


@pytest.mark.slow
def test_a_plot_is_drawn_for_several_sizes_of_request(small_bundle: Path, tmp_path: Path) -> None:
    curve = tmp_path / "curve.svg"
    with server_process(small_bundle) as endpoints:
        command = ["bench", endpoints.grpc_target, "--bundle", str(small_bundle), "--seconds", "0.1", "--concurrency", "1,2"]
        result = CliRunner().invoke(app, [*command, "--batch", "1,2", "--plot", str(curve)])
        assert result.exit_code == 0, result.output
        assert "requests of several sizes" in result.stdout
        wrong = CliRunner().invoke(app, [*command, "--plot", str(tmp_path / "curve.doc")])
        assert wrong.exit_code == 2 and ".svg, .png, .pdf" in wrong.output
    assert "<svg" in curve.read_text()
