"""tfbundle doctor."""

from __future__ import annotations

import json

from tests.bundler.cli.commands import run


def test_doctor_checks_every_part() -> None:
    report = json.loads(run("doctor", "--no-build", "--json").stdout)
    status = {finding["name"]: finding["status"] for finding in report["findings"]}
    assert report["ok"] is True
    assert {
        status[name] for name in ("python", "torch", "tensorflow", "onnx", "onnxruntime", "converters")
    } == {"ok"}
    assert "port 8500" in status
    assert "Everything that tfbundle needs works." in run("doctor", "--no-build").stdout
