"""tfbundle verify: an intact bundle, a changed file, and a folder that is not a bundle."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bundler.cli.commands import run


def test_verify_accepts_an_intact_bundle(copy: Path) -> None:
    text = run("verify", copy).stdout
    assert "is intact" in text
    assert "1 SavedModel gives ONNX Runtime's answers" in text  # it was built from an .onnx file
    assert json.loads(run("verify", copy, "--json", "--no-parity").stdout) == {"passed": True, "problems": []}


def test_verify_names_the_file_with_a_flipped_byte(copy: Path) -> None:
    file = copy / "models" / "mlp" / "1" / "variables" / "variables.index"
    data = bytearray(file.read_bytes())
    data[5] ^= 1
    file.write_bytes(data)
    assert "models/mlp/1/variables/variables.index: changed" in run("verify", copy, code=1).stderr
    problems = json.loads(run("verify", copy, "--json", code=1).stdout)["problems"]
    assert [problem["path"] for problem in problems] == ["models/mlp/1/variables/variables.index"]


def test_verify_rejects_a_folder_that_is_not_a_bundle(tmp_path: Path) -> None:
    assert "is not a bundle" in run("verify", tmp_path, code=1).stderr
