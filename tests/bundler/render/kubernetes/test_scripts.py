"""The shell scripts of k8s/: each copy equals its source, and no copy is missing from the table."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bundler.render.kubernetes import scripts
from bundler.render.kubernetes.tree import TREE, shipped
from tests import requirements

PAIRS = [(source, copy) for source, copies in scripts.COPIES.items() for copy in copies]


@pytest.mark.parametrize(("source", "copy"), PAIRS)
def test_each_shipped_copy_equals_its_source(source: str, copy: str) -> None:
    assert shipped(copy) == shipped(source), "update the copies: python -m bundler.render.kubernetes"


def test_the_table_lists_every_shipped_script() -> None:
    assert set(scripts.files()) == {path.relative_to(TREE).as_posix() for path in TREE.rglob("*.sh")}


def test_copies_are_written_from_the_sources(tmp_path: Path) -> None:
    written = scripts.write_copies(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in written] == [copy for _, copy in PAIRS]
    assert all((tmp_path / copy).read_text("utf-8") == shipped(source) for source, copy in PAIRS)


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """An overlay with the canary in a copy of the shipped tree."""
    tree = Path(shutil.copytree(TREE, tmp_path / "k8s"))
    folder = tree / "overlays" / "canary"
    folder.mkdir()
    text = "resources:\n  - ../../base\ncomponents:\n  - ../../components/canary\n"
    (folder / "kustomization.yaml").write_text(text)
    return folder


def test_kustomize_rejects_a_link_in_place_of_a_copy(overlay: Path) -> None:
    """This is why the copies exist."""
    kubectl = requirements.kubectl()
    assert subprocess.run([kubectl, "kustomize", str(overlay)], capture_output=True).returncode == 0
    copy = overlay.parents[1] / "components/canary/config/model-state.sh"
    copy.unlink()
    copy.symlink_to("../../../base/config/model-state.sh")
    done = subprocess.run([kubectl, "kustomize", str(overlay)], capture_output=True, text=True)
    assert done.returncode != 0
    assert "is not in or below" in done.stderr


def test_the_command_updates_the_copies_of_its_own_tree(tmp_path: Path) -> None:
    root = TREE.parent
    for name in ("bundler", "serving", "k8s"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    copy = tmp_path / "k8s" / "chart" / "files" / "model-state.sh"
    copy.write_text("stale\n")
    command = [sys.executable, "-m", "bundler.render.kubernetes"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    written = done.stdout.splitlines()
    assert written[: len(PAIRS)] == [str(tmp_path / "k8s" / copy) for _, copy in PAIRS]
    assert all(Path(path).is_relative_to(tmp_path / "k8s") for path in written)
    assert copy.read_text("utf-8") == shipped(scripts.STATE_SCRIPT)
