"""tfbundle build-job: what it refuses, and that it only overwrites what it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.bundler.cli.commands import run

SECTION = {"image": "registry.example.com/builder:1", "meet": "s3://bucket/builds", "output": "s3://bucket/digits", "shards": 2}


def spec_file(folder: Path, section: dict[str, Any]) -> Path:
    models = [{"name": name, "source": "model.py:make"} for name in ("a", "b")]
    file = folder / "bundle.yaml"
    file.write_text(json.dumps({"models": models, "kubernetes": {"build_job": section}}))
    return file


def test_the_manifests_of_a_run_are_written_again_for_the_next(tmp_path: Path) -> None:
    file, folder = spec_file(tmp_path, SECTION), tmp_path / "job"
    written = json.loads(run("build-job", file, "-o", folder, "--run", "17", "--json").stdout)
    assert written == {"run": "17", "folder": str(folder), "shards": "s3://bucket/builds/17"}
    result = run("build-job", file, "-o", folder)
    assert f"Next: kubectl apply -k {folder}" in result.stdout
    assert "digits-build-17" not in (folder / "build.yaml").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": None, "output": None}, "lacks image and output"),
        ({"shards": 3}, "set shards: 2 or fewer"),
        ({"meet": "bucket/builds"}, "s3://bucket/builds or oci://registry.example.com/builds"),
        ({"meet": "https://bucket/builds"}, "pods cannot write to 'https://bucket/builds'"),
        ({"meet": "oci://registry.example.com/builds:1"}, "leave the tag out"),
        ({"output": "oci://registry.example.com/digits"}, "push it from there"),
        ({"parallelism": 3}, "more than there are shards"),
        ({"pod": {"volumes": [{"name": "cache", "emptyDir": {}}]}}, "e.g. my-cache"),
        ({"pod": {"service_account_annotations": {"a": "b"}}}, "name one in pod.service_account"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    result = run("build-job", spec_file(tmp_path, {**SECTION, **changes}), "-o", tmp_path / "job", code=2)
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "job").exists()


def test_a_name_that_no_object_can_have_is_refused(tmp_path: Path) -> None:
    assert "e.g. --run build-17" in run("build-job", spec_file(tmp_path, SECTION), "--run", "Über", code=2).stderr


def test_a_file_of_the_users_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "build.yaml").write_text("kind: Job\n")
    result = run("build-job", spec_file(tmp_path, SECTION), "-o", tmp_path, code=2)
    assert "tfbundle did not write it" in result.stderr
    assert not (tmp_path / "merge.yaml").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in run("build-job", spec_file(tmp_path, SECTION), "-o", tmp_path / "file" / "job", code=1).stderr
