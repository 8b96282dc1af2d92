"""The examples in docs/custom-ops.md and the README work as printed: files are written and commands run, in order."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bundler
from tests.models import EXAMPLES

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "custom-ops.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8").partition("\n## Custom operators\n")[2].partition("\n## ")[0]
_BLOCK = re.compile(r"^```(?P<kind>python|yaml|sh|toml)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.(?:py|yaml))\n")


def write_files(document: str, folder: Path) -> list[str]:
    """Write the blocks that name a file, and return the commands of the other blocks."""
    commands = []
    for block in _BLOCK.finditer(document):
        name = _FILE.match(block["text"])
        if block["kind"] in ("python", "yaml"):
            assert name, f"a block does not say which file it is: {block['text'][:60]}"
            (folder / name[1]).write_text(block["text"])
        elif block["kind"] == "sh":
            commands += block["text"].splitlines()
    return commands


def run(command: str, folder: Path) -> str:
    """Run a line of the document with this Python's tfbundle; return its output."""
    environment = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.slow
def test_every_command_in_the_document_works(tmp_path: Path) -> None:
    commands = write_files(DOCUMENT, tmp_path)
    assert len(commands) == 6
    outputs = {command: run(command, tmp_path) for command in commands}
    dry_run, build, *_ = outputs.values()
    assert "mylib::SoftShrink" in dry_run
    assert "shrink_ops.py:soft_shrink" in dry_run
    assert "not compared with ONNX Runtime: ONNX Runtime has no kernel for mylib:SoftShrink." in build
    assert "shrink_ops.py:soft_shrink" in outputs['tfbundle ops "mylib::*" --ops shrink_ops.py']
    for name in ("denoiser", "again", "python"):
        assert (tmp_path / "dist" / name / "bundle.json").is_file()


@pytest.mark.slow
def test_the_example_in_the_readme_works(tmp_path: Path) -> None:
    commands = write_files(README, tmp_path)
    assert [command.split()[1] for command in commands] == ["build", "verify"]
    for command in commands:
        run(command, tmp_path)
    assert (tmp_path / "dist/denoiser/tflite/denoiser/1/denoiser-float32.tflite").is_file()


def test_the_first_build_of_the_document_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Build in this process; the slow test runs the other commands."""
    monkeypatch.chdir(tmp_path)
    assert write_files(DOCUMENT, tmp_path)[1].startswith("tfbundle build denoiser.py:make --ops shrink_ops.py")
    bundle = bundler.build("denoiser.py:make", out="dist/denoiser", ops="shrink_ops.py")
    assert bundle.record("denoiser")["source"]["ops"][0]["file"] == "shrink_ops.py"
    assert "mylib:SoftShrink" in bundle.notices[0]


def test_the_example_in_the_repository_builds(tmp_path: Path) -> None:
    source, handlers = EXAMPLES / "soft_shrink.py", EXAMPLES / "soft_shrink_ops.py"
    bundle = bundler.build(f"{source}:soft_shrink", out=tmp_path / "x", ops=handlers)
    (line,) = bundle.record("soft_shrink")["parity"]["summary"]
    assert line["runtime"] == "saved_model"
    assert line["max_rel"] < 1e-5
