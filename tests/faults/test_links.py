"""Links and special files in a bundle from a stranger: nothing is written through them, and nothing outside is read."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

import bundler
from bundler.bundle.manifest import Manifest
from bundler.bundle.staging import Staging
from bundler.errors import PublishError, VerifyError
from bundler.validation.bundle import Bundle
from tests.bundler.bundle.test_staging import build
from tests.bundler.cli.commands import run as tfbundle
from tests.faults.test_hostile_journal import tree

PARTS = ("docker", "k8s", "serving", "smoke", "report.html", "models", "onnx", "golden", "tflite", "bundle.json", ".lock")


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """Return a copy of a real bundle in a folder of its own, beside the user's home."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "profile").write_text("the user's own")
    return Path(shutil.copytree(small_bundle, tmp_path / "outer" / "bundle"))


def put_link(bundle: Path, part: str, home: Path) -> None:
    """Move a part of the bundle into the user's home, and put a link to it in its place."""
    target = home / part.lstrip(".")
    if (bundle / part).exists():
        (bundle / part).rename(target)
    else:
        target.write_text("the user's own")
    (bundle / part).symlink_to(target)


@pytest.mark.parametrize("part", PARTS)
def test_no_command_writes_through_a_link(bundle: Path, tmp_path: Path, part: str, mlp_onnx: Path) -> None:
    put_link(bundle, part, tmp_path / "home")
    before = tree(tmp_path)
    lines = [("render", bundle), ("promote", bundle, "--label", "stable", "--version", 1), ("verify", bundle, "--repair")]
    for line in lines:
        done = tfbundle(*line, code=1)
        assert f"{part} is a symbolic link" in done.stderr, done.stderr
        assert "Unexpected" not in done.stderr
    with pytest.raises((PublishError, VerifyError), match=r"is a symbolic link"):
        bundler.build(mlp_onnx, out=bundle)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("folder", ["models/m", "golden/m", "tflite/m", "onnx/m"])
def test_a_build_does_not_write_into_a_linked_models_folder(tmp_path: Path, folder: str) -> None:
    root = tmp_path / "bundle"
    build(root)
    (root / folder).rename(tmp_path / "moved")
    (root / folder).symlink_to(tmp_path / "moved")
    before = tree(tmp_path)
    with pytest.raises(PublishError, match=f"{folder} is a symbolic link"):
        build(root)
    assert tree(tmp_path) == before


def test_a_linked_folder_within_a_part_is_not_written_through(tmp_path: Path) -> None:
    root = tmp_path / "bundle"
    build(root)
    (root / "k8s" / "base").rename(tmp_path / "home")
    (root / "k8s" / "base").symlink_to(tmp_path / "home")
    before = tree(tmp_path)
    with pytest.raises(PublishError, match="leads through the symbolic link 'k8s/base'"):
        build(root)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("exists", [True, False], ids=["target", "dangling"])
def test_a_link_in_place_of_a_generated_file_is_kept_beside_it(tmp_path: Path, exists: bool) -> None:
    root, secret = tmp_path / "bundle", tmp_path / "secret"
    build(root)
    if exists:
        secret.write_text("the user's own")
    config = root / "serving" / "models.config"
    config.unlink()
    config.symlink_to(secret)
    build(root)
    assert config.read_text() == "m 2" and not config.is_symlink()
    assert str(config.with_name("models.config.orig").readlink()) == str(secret)
    assert secret.exists() == exists and (not exists or secret.read_text() == "the user's own")


def test_golden_data_behind_a_link_do_not_enter_the_bundle(bundle: Path, tmp_path: Path) -> None:
    secret, golden = tmp_path / "home" / "profile", bundle / "golden" / "mlp" / "1.npz"
    golden.unlink()
    golden.symlink_to(secret)
    before = tree(tmp_path)
    target = ("localhost:1", "--bundle", bundle)
    for line in (("render", bundle, "smoke"), ("smoke", *target), ("bench", *target)):
        assert "leads out of the bundle through the symbolic link" in tfbundle(*line, code=1).stderr
    assert tree(tmp_path) == before


def test_a_variant_behind_a_link_is_not_exported(bundle: Path, tmp_path: Path) -> None:
    put_link(bundle, "tflite", tmp_path / "home")
    done = tfbundle("export-mobile", bundle, "-o", tmp_path / "app", code=1)
    assert "leads out of the bundle through the symbolic link 'tflite'" in done.stderr
    assert not (tmp_path / "app").exists()


@pytest.mark.parametrize("part", [part for part in PARTS if part not in ("bundle.json", ".lock")])
def test_verify_names_links_out_and_does_not_follow_them(bundle: Path, tmp_path: Path, part: str) -> None:
    put_link(bundle, part, tmp_path / "home")
    for parity in (False, True):
        problems = [problem for problem in Bundle.open(bundle).verify(parity=parity) if problem.serious]
        assert [problem.path for problem in problems] == [part]
        assert "symbolic link that leads out of the bundle" in problems[0].message


def test_verify_reads_no_file_outside(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("docker", "k8s", "models", "report.html"):
        put_link(bundle, part, tmp_path / "home")
    opened, open_file = list[str](), os.open

    def spy(path: object, *args: object, **options: object) -> int:
        opened.append(os.path.realpath(str(path)))
        return open_file(path, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", spy)
    Bundle.open(bundle).verify(parity=False)
    assert opened and all(path.startswith(str(bundle)) for path in opened)


def test_links_inside_a_bundle_are_followed(bundle: Path) -> None:
    (bundle / "docker").rename(bundle / "docker.real")
    (bundle / "docker").symlink_to("docker.real")
    assert not [problem for problem in Bundle.open(bundle).verify(parity=False) if problem.serious]


def test_special_files_are_named_and_never_opened(bundle: Path) -> None:
    (bundle / "report.html").unlink()
    os.mkfifo(bundle / "report.html")
    os.mkfifo(bundle / "k8s" / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(bundle)  # the path of a socket has at most 108 characters
        server.bind("socket")
        os.chdir(before)
        found = {p.path: p.message for p in Bundle.open(bundle).verify(parity=False) if p.serious}
    assert found == {
        "report.html": "cannot be read: it is a FIFO, not a regular file",
        "k8s/pipe": "a FIFO, which no bundle has; it is not opened",
        "socket": "a socket, which no bundle has; it is not opened",
    }
    tfbundle("render", bundle, "report")
    assert (bundle / "report.html").is_file()


@pytest.mark.parametrize("name", ["bundle.json", "golden/mlp/1.npz", ".lock", "serving/models.config"])
def test_a_fifo_blocks_no_command(bundle: Path, name: str) -> None:
    (bundle / name).unlink(missing_ok=True)
    os.mkfifo(bundle / name)
    for line in (("verify", bundle, "--no-parity"), ("render", bundle)):
        done = tfbundle(*line, code=1 if name != "serving/models.config" and (line[0], name) != ("verify", ".lock") else None)
        assert "Unexpected" not in done.stderr


def test_the_target_of_a_linked_lock_keeps_its_content(tmp_path: Path) -> None:
    root = tmp_path / "bundle"
    build(root)
    (tmp_path / "precious").write_text("precious")
    (root / ".lock").unlink(missing_ok=True)
    (root / ".lock").symlink_to("../precious")
    with pytest.raises(PublishError, match=r"\.lock is a symbolic link"), Staging(root):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


def test_the_lock_library_itself_does_not_follow_links(tmp_path: Path) -> None:
    """pyproject.toml excludes the versions that truncate the target."""
    from filelock import FileLock

    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".lock").symlink_to("precious")
    with pytest.raises(OSError):
        FileLock(tmp_path / ".lock", timeout=0).acquire()
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_linked_manifest_is_not_read(bundle: Path, tmp_path: Path) -> None:
    put_link(bundle, "bundle.json", tmp_path / "home")
    with pytest.raises(VerifyError, match=r"bundle\.json is a symbolic link"):
        Manifest.read(bundle / "bundle.json")
