"""A bundle that is read-only, unreadable, or another user's: each command says so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PR_CAPBSET_DROP = 24
DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2  # the capabilities that let root ignore modes (linux/capability.h)
REASONS = ("ermission denied", "cannot be read", "not readable")
OBEY_MODES = f"""
import ctypes, os, sys
if os.getuid() == 0:
    for capability in {DAC_OVERRIDE, DAC_READ_SEARCH}:
        ctypes.CDLL(None).prctl({PR_CAPBSET_DROP}, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
"""Replaces the process by one, root's too, that can do only what the modes of files allow."""

RUN = """
import os, sys
from typer.testing import CliRunner
from bundler.cli.app import app
for line in sys.stdin.read().splitlines():
    result = CliRunner().invoke(app, line.split())
    text = result.stderr.replace(chr(10), " ")
    print(result.exit_code, text or "-", flush=True)
"""


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Iterator[Path]:
    copy = Path(shutil.copytree(small_bundle, tmp_path / "bundle"))
    yield copy
    subprocess.run(["chmod", "-R", "u+rwX", str(copy)], check=True)


def run_without_rights(lines: list[str]) -> list[tuple[int, str]]:
    """Run commands in a process that the modes of files bind; return exit code and error of each."""
    done = subprocess.run(
        [sys.executable, "-c", OBEY_MODES, RUN], input="\n".join(lines),
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split(" ", 1) for line in done.stdout.splitlines() if line[:1].isdigit()]
    return [(int(code), text) for code, text in rows]


def test_a_bundle_of_another_user_can_be_read_but_not_written(bundle: Path) -> None:
    subprocess.run(["chmod", "-R", "a-w", str(bundle)], check=True)
    (*reading, promoted) = run_without_rights([f"inspect {bundle}", f"verify {bundle} --no-parity", f"promote {bundle}"])
    assert [code for code, _ in (*reading, promoted)] == [0, 0, 0]
    lines = [f"render {bundle}", f"promote {bundle} --label stable --version 1", f"verify {bundle} --repair",
             f"export-mobile {bundle} -o {bundle}/app"]  # fmt: skip
    for code, text in run_without_rights(lines):
        assert code == 1 and "cannot be written: Permission denied" in text, text


@pytest.mark.sample(2)
@pytest.mark.parametrize("part", ["bundle.json", "models", "golden/mlp/1.npz", "."])
def test_what_cannot_be_read_is_named(bundle: Path, part: str) -> None:
    (bundle / part).chmod(0)
    lines = [f"inspect {bundle}", f"verify {bundle} --no-parity", f"bench localhost:1 --bundle {bundle}", f"render {bundle}",
             f"promote {bundle}", f"verify {bundle} --repair"]  # fmt: skip
    if part in ("bundle.json", "."):
        lines += [f"serve {bundle}", f"launch {bundle}"]
    done = run_without_rights(lines)
    assert len(done) == len(lines)
    for line, (code, text) in zip(lines, done, strict=True):
        assert "Unexpected" not in text and "Traceback" not in text, (line, text)
        if part in ("bundle.json", "."):
            assert code in (1, 2) and any(words in text for words in REASONS), (line, code, text)
