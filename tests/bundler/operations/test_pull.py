from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bundler.operations.pull import default_target
from bundler.process.cache import CACHE_ENV
from bundler.values.addresses import parse_address
from tests.bundler.cli.commands import run
from tests.registries import few_files, registry


@pytest.fixture
def address(small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of a bundle in a registry."""
    monkeypatch.setenv(CACHE_ENV, str(tmp_path / "cache"))
    with registry(tmp_path / "registry") as running:
        few_files(small_bundle, tmp_path / "small", b"x")
        run("push", tmp_path / "small", running.address("team/mlp:1"), "--insecure", "--only", "bundle")
        yield running.address("team/mlp:1")


def pull(address: str, target: Path, *more: str, code: int = 0) -> Any:
    return json.loads(run("pull", address, "-o", target, "--insecure", "--json", *more, code=code).stdout)


def test_present_bundle_is_never_overwritten(address: str, small_bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "mlp"
    assert pull(address, target)["changed"]
    assert not pull(address, target)["changed"]
    (target / "report.html").unlink()
    failed = pull(address, target, code=2)
    assert failed["code"] == "TFB9012" and "--replace" in failed["fix"]
    pulled = pull(address, target, "--replace")
    assert pulled["kept"] == str(tmp_path / "out" / "mlp.orig") and (target / "report.html").exists()
    assert (tmp_path / "out" / "mlp.orig" / "bundle.json").exists()
    shutil.rmtree(target)
    few_files(small_bundle, target, b"another bundle")
    assert pull(address, target, "--replace")["kept"] == str(tmp_path / "out" / "mlp.orig.2")
    assert (tmp_path / "out" / "mlp.orig.2" / "models/mlp/1/variables/more.data").read_bytes() == b"another bundle"


def test_other_folders_and_files_are_never_replaced(address: str, tmp_path: Path) -> None:
    target = tmp_path / "work"
    target.mkdir()
    pull(address, target)  # an empty folder is as good as none
    shutil.rmtree(target)
    target.mkdir()
    (target / "thesis.tex").write_text("text", "utf-8")
    (tmp_path / "file").write_text("text", "utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for each in (target, tmp_path / "file", tmp_path / "link"):
        failed = pull(address, each, "--replace", code=2)
        assert failed["code"] == "TFB9012" and "nothing was overwritten" in failed["error"]
    assert (target / "thesis.tex").read_text("utf-8") == "text" and (tmp_path / "file").read_text("utf-8") == "text"


def test_pull_goes_to_dist_by_default() -> None:
    assert default_target(parse_address("oci://ghcr.io/team/digits:1")) == Path("dist/digits")
    assert default_target(parse_address("s3://bucket/dist/digits")) == Path("dist/digits")
