"""The isolation of the demo's smoke test: which packages its process can import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bundler.demo import only_three

GUARD = Path(only_three.__file__)


def guarded(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", str(GUARD), str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_only_three_packages_and_those_next_to_the_script_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "__init__.py").write_text("WORD = 'beside'")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, json, grpc, numpy, beside\n"
        "from google.protobuf import descriptor_pb2\n"
        "for name in ('torch', 'tensorflow', 'bundler', 'serving', 'pydantic', 'rich'):\n"
        "    try:\n"
        "        __import__(name)\n"
        "    except ModuleNotFoundError as exc:\n"
        "        print(exc)\n"
        "print(beside.WORD, *sys.argv[1:])\n"
    )
    done = guarded(script, "a", "b")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "not importable here: torch, tensorflow, onnx, bundler"
    assert [line.split()[0] for line in lines[1:-1]] == [
        "torch", "tensorflow", "bundler", "serving", "pydantic", "rich",
    ]  # fmt: skip
    assert lines[-1] == "beside a b"


def test_the_script_is_not_run_if_torch_can_be_imported(tmp_path: Path) -> None:
    """A package next to the script may be imported, so a torch.py there would make the test meaningless."""
    (tmp_path / "torch.py").write_text("")
    script = tmp_path / "script.py"
    script.write_text("print('not reached')")
    done = guarded(script)
    assert (done.returncode, done.stdout) == (3, "")
    assert "torch could be imported" in done.stderr
