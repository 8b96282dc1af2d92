"""A build with --against publishes a version that is as good as the one in service, and refuses a worse one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bundler.bundle.manifest import Manifest
from bundler.errors import ComparisonError, UsageError
from bundler.operations.promote import promote
from bundler.validation.against import in_service
from bundler.validation.bundle import Bundle
from tests.bundler.cli.commands import run
from tests.bundler.validation import linear_digits

SPEC = """
models:
  - name: digits
    source: digits.onnx
    tflite: {evaluate: labelled.py:labelled}
    against: {min_agreement: 0.7, max_latency_ratio: 3}
serving:
  labels: {digits: {stable: 1}}
"""


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bundle.yaml and a bundle in dist: version 1 was trained on 300 images. Tests change only a copy."""
    folder = tmp_path_factory.mktemp("gates")
    (folder / "bundle.yaml").write_text(SPEC)
    (folder / "labelled.py").write_text(linear_digits.LABELLED)
    linear_digits.write(folder / "digits.onnx", 300)
    built = run("build", folder / "bundle.yaml", "-o", folder / "dist", "--against", "stable")
    assert "digits: there is no version to compare with yet." in built.stderr
    return folder


@pytest.fixture
def project(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path(shutil.copytree(first, tmp_path / "gates"))
    monkeypatch.chdir(folder)
    return folder


def test_a_worse_version_is_refused_and_nothing_is_published(project: Path) -> None:
    before = (project / "dist" / "bundle.json").read_bytes()
    linear_digits.write(project / "digits.onnx", 300, noise=0.2)
    refused = run("build", "bundle.yaml", "-o", "dist", "--against", "stable", "--report", "refused.html", "--json", code=3)
    assert (project / "dist" / "bundle.json").read_bytes() == before
    assert [path.name for path in (project / "dist" / "models" / "digits").iterdir()] == ["1"]
    record = json.loads(refused.stdout)["against"]["digits"]
    assert record["version"] == 1 and record["label"] == "stable" and not record["passed"]
    assert record["metric"]["after"] < record["metric"]["before"] - 0.1
    assert record["agreement"]["labelled"]["rows"] == 497
    assert "error TFB9301: The new version of 'digits' is worse than version 1 (stable), so nothing" in refused.stderr
    assert "metric labelled.py:labelled: " in refused.stderr
    page = (project / "refused.html").read_text("utf-8")
    assert "Compared with version 1 (stable)" in page and "broken" in page


def test_a_better_version_is_published_and_can_be_promoted(project: Path) -> None:
    linear_digits.write(project / "digits.onnx", 1300)
    built = run("build", "bundle.yaml", "-o", "dist", "--against", "stable", "--report", "gate.html")
    assert "digits compared with version 1 (stable):" in built.stdout
    bundle = Bundle.open(project / "dist")
    record = bundle.record("digits", 2)["against"]
    assert record["passed"] and record["metric"]["after"] > record["metric"]["before"]
    assert record["latency_ms"]["before"] > 0 and record["size_bytes"] == {
        "before": bundle.size_bytes("digits", 1), "after": bundle.size_bytes("digits", 2)
    }  # fmt: skip
    assert (project / "gate.html").read_bytes() == bundle.layout.report.read_bytes()
    assert promote(project / "dist", None, "stable", 2, require_gate=True).before == 1


@pytest.mark.slow
def test_clients_of_the_version_in_service_are_not_left_behind(project: Path) -> None:
    linear_digits.write(project / "digits.onnx", 300, pixels="image")
    refused = run("build", "digits.onnx", "-o", "dist", "--against", "1", code=3)
    assert "clients of version 1 would fail: serving_default has no input 'pixels' any more" in refused.stderr
    assert "serving_default has the further input image=float32[batch,64]" in refused.stderr


def test_only_a_version_or_label_that_exists_can_be_compared_with(project: Path) -> None:
    manifest = Manifest.read(project / "dist" / "bundle.json")
    assert in_service(None, "digits", "stable") is None and in_service(manifest, "other", "stable") is None
    assert in_service(manifest, "digits", "stable") == in_service(manifest, "digits", "1") == 1
    for version in ("2", "canary"):
        with pytest.raises(UsageError, match=r"to compare with") as caught:
            in_service(manifest, "digits", version)
        assert caught.value.fix and "choose one of: 1, stable" in caught.value.fix
    refused = run("build", "bundle.yaml", "-o", "dist", "--against", "stable!", code=2)
    assert "'stable!' is neither a version nor a label" in refused.stderr


def test_require_gate_refuses_a_version_that_was_not_compared(project: Path) -> None:
    linear_digits.write(project / "digits.onnx", 1300)
    run("build", "bundle.yaml", "-o", "dist")
    with pytest.raises(ComparisonError, match=r"'stable' points to: it was not compared with any version") as caught:
        promote(project / "dist", "digits", "stable", 2, require_gate=True)
    assert caught.value.exit_code == 3 and caught.value.code == "TFB9302"
    assert promote(project / "dist", "digits", "canary", 2, require_gate=True).before is None
    assert "may not take over from version 1" in run(
        "promote", "dist", "--label", "stable", "--version", 2, "--require-gate", code=3
    ).stderr
    refused = run("promote", "dist", "--label", "stable", "--rollback", "--require-gate", code=2)
    assert "--require-gate is for promotions" in refused.stderr
