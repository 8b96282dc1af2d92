"""Publication of a build: all or nothing, whatever happens at any moment."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from bundler.bundle import journal
from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import Manifest
from bundler.bundle.staging import PREFIX, Published, Staging
from bundler.errors import PublishError, UsageError, VerifyError
from tests.bundler.bundle.records import SPEC, record


def stage(staging: Staging, model: str, number: int, text: str) -> None:
    """Put a small version with all its parts and the generated files into the private folder."""
    layout = staging.layout
    files = {
        layout.version_dir(model, number) / "saved_model.pb": text,
        layout.version_dir(model, number) / "variables" / "variables.index": text + "!",
        layout.onnx_file(model, number): text,
        layout.golden_file(model, number): text,
        layout.tflite_file(model, number, "float16"): text,
        layout.serving_dir / "models.config": f"{model} {number}",
        layout.k8s_dir / "base" / "deployment.yaml": f"{model} {number}",
        layout.report: f"{model} {number}",
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def build(root: Path, model: str = "m", version: int | None = None, text: str = "weights") -> Published:
    """Publish a version as a build does, without a model."""
    with Staging(root) as staging:
        number = staging.next_version(model, version)
        stage(staging, model, number, f"{text}{number}")
        before = staging.manifest or Manifest(spec=SPEC)
        return staging.publish(before.with_version(model, number, record()))


def python(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def tree(root: Path) -> dict[str, str]:
    """Return the hash of every file except the lock, by relative path."""
    return {
        p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file() and p.name != ".lock"
    }


def assert_sound(root: Path) -> None:
    """Check that bundle.json matches the disk, no private folder is left and no version is partial."""
    manifest = Manifest.read(root / "bundle.json")
    found = tree(root)
    assert set(found) == set(manifest.files) | {"bundle.json"}
    assert all(found[path] == entry.sha256 for path, entry in manifest.files.items())
    assert not list(root.glob(f"{PREFIX}*"))
    layout = BundleLayout(root)
    assert {m: layout.versions(m) for m in layout.models()} == {
        m: manifest.versions(m) for m in manifest.models
    }


def test_a_second_version_leaves_the_first_untouched(tmp_path: Path) -> None:
    root = tmp_path / "dist" / "x"
    assert build(root).manifest.versions("m") == [1]
    assert_sound(root)
    first = {path: digest for path, digest in tree(root).items() if "/m/1" in path}
    assert len(first) == 5
    second = build(root)
    assert second.manifest.versions("m") == [1, 2]
    assert_sound(root)
    assert first.items() <= tree(root).items(), "version 1 is untouched"
    assert (root / "report.html").read_text() == "m 2"


def test_two_models_share_a_bundle(tmp_path: Path) -> None:
    build(tmp_path, "a")
    build(tmp_path, "b")
    build(tmp_path, "a")
    assert_sound(tmp_path)
    assert Manifest.read(tmp_path / "bundle.json").versions("a") == [1, 2]


def test_a_requested_version_cannot_be_published_twice(tmp_path: Path) -> None:
    build(tmp_path, version=7)
    before = tree(tmp_path)
    with pytest.raises(PublishError, match="Version 7 of model 'm' already exists"):
        build(tmp_path, version=7)
    assert tree(tmp_path) == before
    assert build(tmp_path).manifest.versions("m") == [7, 8]


def test_a_version_that_appears_during_the_build_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="Version 1"), Staging(tmp_path) as staging:
        stage(staging, "m", staging.next_version("m", None), "mine")
        theirs = tmp_path / "models" / "m" / "1"
        theirs.mkdir(parents=True)
        (theirs / "saved_model.pb").write_text("theirs")
        staging.publish(Manifest(spec=SPEC).with_version("m", 1, record()))
    assert tree(tmp_path) == {"models/m/1/saved_model.pb": hashlib.sha256(b"theirs").hexdigest()}


def test_a_deleted_version_is_dropped_and_its_number_not_reused(tmp_path: Path) -> None:
    build(tmp_path)
    build(tmp_path)
    shutil.rmtree(tmp_path / "models" / "m" / "1")
    published = build(tmp_path)
    assert published.manifest.versions("m") == [2, 3]
    assert "models/m/1 no longer exists and was removed from bundle.json." in published.notices


def test_an_edited_generated_file_is_kept_beside_the_new_one(tmp_path: Path) -> None:
    build(tmp_path)
    config = tmp_path / "serving" / "models.config"
    config.write_text("my edit")
    published = build(tmp_path)
    assert any("serving/models.config" in n and "models.config.orig" in n for n in published.notices)
    assert config.read_text() == "m 2"
    assert config.with_name("models.config.orig").read_text() == "my edit"
    config.write_text("my second edit")
    build(tmp_path)
    assert config.with_name("models.config.orig").read_text() == "my edit"
    assert config.with_name("models.config.orig.2").read_text() == "my second edit"


def test_the_users_own_files_stay(tmp_path: Path) -> None:
    build(tmp_path)
    (tmp_path / "k8s" / "overlays").mkdir(parents=True)
    (tmp_path / "k8s" / "overlays" / "mine.yaml").write_text("mine")
    (tmp_path / "NOTES.md").write_text("notes")
    build(tmp_path)
    assert (tmp_path / "k8s" / "overlays" / "mine.yaml").read_text() == "mine"
    assert (tmp_path / "NOTES.md").read_text() == "notes"


def test_a_generated_file_that_is_no_longer_made_is_removed_unless_edited(tmp_path: Path) -> None:
    for edited in (False, True):
        root = tmp_path / str(edited)
        build(root)
        extra = root / "serving" / "models.config"
        if edited:
            extra.write_text("mine")
        with Staging(root) as staging:
            other = staging.layout.serving_dir / "batching.config"
            other.parent.mkdir()
            other.write_text("b")
            assert staging.manifest is not None
            published = staging.publish(staging.manifest)
        assert extra.exists() == edited
        assert "serving/models.config" not in published.manifest.files
        assert (root / "k8s" / "base" / "deployment.yaml").exists(), "a part not written anew stays"
        assert "k8s/base/deployment.yaml" in published.manifest.files


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    with Staging(tmp_path), pytest.raises(PublishError, match=rf"Another build .*process {os.getpid()}"):
        Staging(tmp_path).__enter__()
    build(tmp_path)
    assert_sound(tmp_path)


def test_a_failed_first_build_leaves_nothing_behind(tmp_path: Path) -> None:
    root = tmp_path / "dist" / "x"
    with pytest.raises(RuntimeError, match="conversion"), Staging(root) as staging:
        stage(staging, "m", 1, "x")
        raise RuntimeError("conversion")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_bundle_is_not_changed(tmp_path: Path) -> None:
    build(tmp_path)
    with (tmp_path / "bundle.json").open("a") as file:
        file.write(" ")
    before = tree(tmp_path)
    with pytest.raises(VerifyError, match=r"bundle\.json is damaged"):
        build(tmp_path)
    assert tree(tmp_path) == before


def test_a_bundle_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("a file")
    with pytest.raises(PublishError, match="cannot be written"):
        build(tmp_path / "x")
    with pytest.raises(PublishError, match="cannot be written"):
        build(Path("/proc/tfbundle/x"))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("nth", range(1, 10))
def test_an_exception_at_any_step_undoes_all_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int, error: BaseException
) -> None:
    build(tmp_path)
    (tmp_path / "serving" / "models.config").write_text("my edit")
    before = tree(tmp_path)
    done = journal._do
    count = 0

    def fail(root: Path, step: journal.Step) -> None:
        nonlocal count
        count += 1
        if count == nth:
            raise error
        done(root, step)

    monkeypatch.setattr(journal, "_do", fail)
    expected = PublishError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        build(tmp_path)
    assert count == nth
    assert tree(tmp_path) == before
    monkeypatch.undo()
    assert build(tmp_path).manifest.versions("m") == [1, 2]
    assert (tmp_path / "serving" / "models.config.orig").read_text() == "my edit"


def _killed_at_rename(root: Path, nth: int, *, undo_too: bool = False) -> int:
    """Publish in a process that kills itself (SIGKILL) right before the nth step."""
    code = f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from bundler.bundle import journal
        import test_staging
        counts = {{"_do": 0, "_undo": 0}}
        def counted(name, original, limit, action):
            def step(root, s):
                counts[name] += 1
                if counts[name] == limit:
                    action()
                original(root, s)
            return step
        def die():
            os.kill(os.getpid(), signal.SIGKILL)
        def fail():
            raise OSError(5, "disk on fire")
        if {undo_too!r}:
            journal._do = counted("_do", journal._do, 8, fail)
            journal._undo = counted("_undo", journal._undo, {nth}, die)
        else:
            journal._do = counted("_do", journal._do, {nth}, die)
        test_staging.build(Path({str(root)!r}))
    """
    return python(code).returncode


@pytest.mark.parametrize("nth", [1, 4, 7, 8])
def test_kill_9_while_publishing_is_finished_by_the_next_build(tmp_path: Path, nth: int) -> None:
    build(tmp_path)
    assert _killed_at_rename(tmp_path, nth) == -signal.SIGKILL
    for number in BundleLayout(tmp_path).versions("m"):
        assert len(list((tmp_path / "models" / "m" / str(number)).rglob("variables.index"))) == 1
    published = build(tmp_path)
    assert published.manifest.versions("m") == [1, 2, 3]
    assert any("Finished the publication of an earlier build" in notice for notice in published.notices)
    assert_sound(tmp_path)


@pytest.mark.parametrize("nth", [1, 5, 8])
def test_kill_9_while_undoing_is_undone_by_the_next_build(tmp_path: Path, nth: int) -> None:
    build(tmp_path)
    assert _killed_at_rename(tmp_path, nth, undo_too=True) == -signal.SIGKILL
    assert build(tmp_path).manifest.versions("m") == [1, 2]
    assert_sound(tmp_path)


def test_kill_9_before_publishing_leaves_the_bundle_alone(tmp_path: Path) -> None:
    build(tmp_path)
    before = tree(tmp_path)
    code = f"""
        import sys, time
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_staging
        from bundler.bundle.staging import Staging
        with Staging(Path({str(tmp_path)!r})) as staging:
            test_staging.stage(staging, "m", 2, "half")
            print("ready", flush=True)
            time.sleep(60)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    with pytest.raises(PublishError, match=f"process {child.pid}"):
        build(tmp_path)
    child.kill()
    child.wait(10)
    child.stdout.close()
    assert {p: h for p, h in tree(tmp_path).items() if not p.startswith(PREFIX)} == before
    assert build(tmp_path).manifest.versions("m") == [1, 2]
    assert_sound(tmp_path)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Path:
    """Yield a file system of 256 KiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting a tmpfs needs root; test_a_limit_on_file_size_is_reported_like_a_full_disk covers it")
    yield folder
    for _ in range(20):
        if subprocess.run(["umount", str(folder)], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    pytest.fail(f"umount {folder} by hand")


def test_a_full_disk_changes_nothing(tiny_disk: Path) -> None:
    root = tiny_disk / "x"
    build(root)
    before = tree(root)
    with pytest.raises(PublishError, match="no space left"):
        build(root, text="w" * 60_000)
    assert tree(root) == before
    build(root)
    assert_sound(root)


def test_a_limit_on_file_size_is_reported_like_a_full_disk(tmp_path: Path) -> None:
    """The limit causes EFBIG where a full disk causes ENOSPC, and needs no mount."""
    build(tmp_path)
    before = tree(tmp_path)
    code = f"""
        import resource, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_staging
        from bundler.errors import PublishError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))
        try:
            test_staging.build(Path({str(tmp_path)!r}), text="w" * 1000)
        except PublishError as exc:
            print(exc)
    """
    done = python(code)
    assert "no space left" in done.stdout, done.stderr
    assert tree(tmp_path) == before


@pytest.mark.parametrize("version", [0, -1, 2**63, 10**30])
def test_version_that_no_server_can_count_is_refused(version: int, tmp_path: Path) -> None:
    with Staging(tmp_path / "dist") as staging:
        assert staging.next_version("m", 2**63 - 1) == 2**63 - 1
        with pytest.raises(UsageError, match=f"The version {version} is out of range"):
            staging.next_version("m", version)
