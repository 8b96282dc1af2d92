"""tfbundle serve with the fast path: the same smoke test passes, and tfbundle bench measures both forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import bundler
from bundler.cli.app import app
from tests.bundler.cli.test_serve import serving, wait


@pytest.mark.slow
def test_both_forms_are_served_smoke_tested_and_measured(mlp_onnx: Path, tmp_path: Path) -> None:
    out = tmp_path / "x"
    bundler.build(mlp_onnx, out=out, fast_path=True)
    with serving(out) as (_, fast, fast_rest), serving(out, "--prefer_tflite_model=false") as (_, saved, saved_rest):
        for grpc, rest in ((fast, fast_rest), (saved, saved_rest)):
            wait(grpc, 1)
            command = ["smoke", f"127.0.0.1:{grpc}", "--rest", f"127.0.0.1:{rest}", "--bundle", str(out)]
            result = CliRunner().invoke(app, command)
            assert result.exit_code == 0, result.output
        targets = [f"127.0.0.1:{fast}", f"127.0.0.1:{saved}"]
        command = ["bench", *targets, "--bundle", str(out), "--concurrency", "1", "--seconds", "0.5", "--json"]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        figures = json.loads(result.stdout)
    assert [row["target"] for row in figures] == [f"grpc://{target}" for target in targets]
    assert all(row["failed"] == 0 and row["p50_ms"] > 0 for row in figures)
