"""kill -9 at every moment of a publication: verify says exactly that, serve waits for the repair, and the repair works."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from bundler.bundle import journal
from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import Manifest
from bundler.bundle.recovery import is_locked, repair, wait_until_published
from bundler.bundle.staging import staging_folders
from bundler.errors import VerifyError
from bundler.validation.bundle import Bundle
from tests.bundler.bundle.test_staging import assert_sound, build
from tests.bundler.cli.commands import run as tfbundle

DRIVER = """
import os, pathlib, shutil, signal, sys
from bundler.bundle import journal
from bundler.bundle.staging import Staging
from tests.bundler.bundle.test_staging import build

start, results, undoes = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3] == "undo"

def killed_at(root, limit):
    '''Publish in a child that kills itself right before the operation number `limit`; return whether it came that far.'''
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == signal.SIGKILL
    count = 0

    def counted(original):
        def operation(*args, **options):
            nonlocal count
            count += 1
            if count == limit:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **options)
        return operation

    def patch():
        for name in ("replace", "unlink", "mkdir"):
            setattr(pathlib.Path, name, counted(getattr(pathlib.Path, name)))
        journal._sync = counted(journal._sync)
        shutil.rmtree = counted(shutil.rmtree)

    def fail(root, step):
        if step.target == "bundle.json":
            patch()
            raise OSError(5, "disk on fire")
        take(root, step)

    if undoes:
        take, journal._do = journal._do, fail
    else:
        publish = Staging.publish
        Staging.publish = lambda *args: [patch(), publish(*args)][1]
    try:
        build(root)
    except BaseException:
        os._exit(1)
    os._exit(0)

limit = 1
while True:
    root = results / str(limit)
    shutil.copytree(start, root)
    if not killed_at(root, limit):
        break
    limit += 1
"""


@pytest.fixture(scope="module", params=["publish", "undo"])
def killed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return bundles with version 1 whose build of version 2 was killed, one for each operation on the disk."""
    folder = tmp_path_factory.mktemp("killed")
    build(folder / "start")
    (folder / "start" / "serving" / "models.config").write_text("my edit")
    command = [sys.executable, "-c", DRIVER, str(folder / "start"), str(folder), request.param]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return sorted((path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))[:-1]


def edited(root: Path) -> list[str]:
    """Return the problems that are not due to the edit of models.config. The models are no real ones and cannot be checked."""
    problems = [problem for problem in Bundle.open(root).verify(parity=False, allow_unsafe_ops=True) if problem.serious]
    return [str(problem) for problem in problems if problem.path != "serving/models.config"]


@pytest.mark.sample(2)
def test_every_moment_is_named_and_repaired(killed: list[Path]) -> None:
    named = 0
    assert len(killed) >= 20
    for root in killed:
        problems = edited(root)
        if problems:
            named += 1
            assert len(problems) == 1, (root, problems)
            assert "a command was killed while" in problems[0] and "version 2 of 'm'" in problems[0]
            assert f"tfbundle verify {root} --repair" in problems[0]
            with pytest.raises(VerifyError, match="is half published"):
                wait_until_published(root)
        else:
            wait_until_published(root)
        repair(root)
        assert not staging_folders(root)
        manifest = Manifest.read(root / "bundle.json")
        assert BundleLayout(root).versions("m") == manifest.versions("m")
        assert edited(root) == []
    assert named >= 8


def half_published(tmp_path: Path, *, first: bool = False) -> Path:
    """Return a bundle whose publication of version 2, or of its first version, was killed half-way."""
    root = tmp_path / "bundle"
    if not first:
        build(root)
    code = f"""
        import os
        from bundler.bundle import journal
        from tests.bundler.bundle.test_staging import build
        take, count = journal._do, 0
        def step(root, step):
            global count
            count += 1
            if count == 5:
                os.kill(os.getpid(), 9)
            take(root, step)
        journal._do = step
        build(__import__("pathlib").Path({str(root)!r}))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False, timeout=60).returncode == -9
    return root


def test_the_commands_say_what_happened_and_how_to_repair_it(tmp_path: Path) -> None:
    root = half_published(tmp_path)
    for line in (("verify", root, "--no-parity"), ("serve", root), ("launch", root)):
        text = tfbundle(*line, code=1).stderr.replace("\n", " ")
        assert "a command was killed while publishing version 2 of 'm'" in text and "--repair" in text
    done = tfbundle("verify", root, "--no-parity", "--repair", "--allow-unsafe-ops")
    assert "Finished the publication of an earlier build that was killed." in done.stderr
    assert "is intact" in done.stdout
    assert_sound(root)


def test_a_first_publication_is_named_and_repaired(tmp_path: Path) -> None:
    root = half_published(tmp_path, first=True)
    assert not (root / "bundle.json").exists()
    done = tfbundle("verify", root, "--no-parity", code=1)
    assert "a command was killed while publishing version 1 of 'm'" in done.stderr.replace("\n", " ")
    tfbundle("verify", root, "--no-parity", "--repair", "--allow-unsafe-ops")
    assert_sound(root)


def test_serve_waits_for_a_publication_that_is_under_way(tmp_path: Path) -> None:
    root = half_published(tmp_path)
    lock = FileLock(root / ".lock", thread_local=False)
    lock.acquire()
    assert is_locked(BundleLayout(root))

    def publish() -> None:
        (staging,) = staging_folders(root)
        journal.settle(root, staging)
        lock.release()

    timer = threading.Timer(0.3, publish)
    start = time.monotonic()
    timer.start()
    wait_until_published(root)
    assert time.monotonic() - start > 0.2
    timer.join()
    assert not is_locked(BundleLayout(root))


def test_repair_of_a_sound_bundle_changes_nothing(tmp_path: Path) -> None:
    build(tmp_path / "bundle")
    assert repair(tmp_path / "bundle") == ()
    assert_sound(tmp_path / "bundle")


def test_repair_makes_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(VerifyError, match="is not a bundle"):
        repair(tmp_path / "none")
    with pytest.raises(VerifyError, match="is not a bundle"):
        repair(tmp_path)
    assert list(tmp_path.iterdir()) == []
