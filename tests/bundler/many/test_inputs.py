"""The inputs of a build: every file whose change would change the result, and nothing that changes by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bundler.many import inputs
from bundler.many.hashes import Hashes


@pytest.fixture
def hashes(tmp_path: Path) -> Hashes:
    return Hashes(tmp_path / "hashes.sqlite")


def names(section: Mapping[str, object], base: Path, hashes: Hashes, opened: set[str] | None = None) -> set[str]:
    found = inputs.find_inputs(section, base, opened or set(), (base / "scratch",), hashes)
    assert inputs.are_unchanged(found, base, hashes)
    return set(found)


def test_texts_of_a_section_name_files_and_folders(tmp_path: Path, hashes: Hashes) -> None:
    for name in ("net.onnx", "samples.npz", "labels.txt", "unused.txt"):
        (tmp_path / name).write_bytes(b"")
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [])), str(tmp_path / "net.onnx"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "one.png").write_bytes(b"1")
    tflite = {"calibration": "images", "dims": {"a": 1}}
    section = {"name": "unused.txt", "source": "net.onnx", "labels": "labels.txt", "tflite": tflite}
    assert names(section, tmp_path, hashes) == {"net.onnx", "labels.txt", "images/"}
    found = inputs.find_inputs(section, tmp_path, (), (), hashes)
    (tmp_path / "images" / "two.png").write_bytes(b"2")
    assert not inputs.are_unchanged(found, tmp_path, hashes)


def test_external_data_of_an_onnx_file_is_an_input(tmp_path: Path, hashes: Hashes) -> None:
    weights = numpy_helper.from_array(np.zeros(512, np.float32), "w")
    model = helper.make_model(helper.make_graph([], "g", [], [], [weights]))
    onnx.save(model, str(tmp_path / "net.onnx"), save_as_external_data=True, location="net.data", size_threshold=0)
    assert names({"source": "net.onnx"}, tmp_path, hashes) == {"net.onnx", "net.data"}


def test_modules_beside_a_python_file_are_inputs_and_packages_are_versions(tmp_path: Path, hashes: Hashes) -> None:
    (tmp_path / "net.py").write_text("import torch\nfrom parts import block\nfrom lib.deep import x\nimport json\n")
    (tmp_path / "parts.py").write_text("import common\n")
    (tmp_path / "common.py").write_text("import parts\nimport numpy.linalg\n")
    (tmp_path / "lib").mkdir()
    for name in ("__init__", "deep"):
        (tmp_path / "lib" / f"{name}.py").write_text("")
    (tmp_path / "other.py").write_text("")
    found = names({"source": "net.py:make"}, tmp_path, hashes)
    assert found == {"net.py", "parts.py", "common.py", "lib/deep.py", "package:torch", "package:numpy"}


def test_a_changed_package_is_a_changed_input(tmp_path: Path, hashes: Hashes) -> None:
    assert not inputs.are_unchanged({"package:numpy": "0.0.1"}, tmp_path, hashes)
    assert not inputs.are_unchanged({"package:no-such-package": "1"}, tmp_path, hashes)


def test_files_that_are_opened_for_reading_are_inputs(tmp_path: Path, hashes: Hashes) -> None:
    read, written = tmp_path / "vocabulary.json", tmp_path / "log.txt"
    read.write_text("{}")
    (tmp_path / "scratch").mkdir()
    with inputs.recorded() as opened:
        json.loads(read.read_text())
        written.write_text("x")
        written.read_text()
        (tmp_path / "scratch" / "x").write_text("x")
        Path(inputs.__file__).read_text()
        Path(np.__file__).read_text()
        Path("/proc/self/status").read_text()
        with pytest.raises(FileNotFoundError):
            (tmp_path / "absent").read_text()
    read.with_name("later").write_text("")
    assert names({}, tmp_path, hashes, opened) == {"vocabulary.json"}


def test_files_elsewhere_have_their_whole_path(tmp_path: Path, hashes: Hashes) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (tmp_path / "weights.pt").write_bytes(b"")
    assert names({"weights": "../weights.pt"}, base, hashes) == {str(tmp_path / "weights.pt")}


def test_strange_texts_are_no_paths(tmp_path: Path, hashes: Hashes) -> None:
    assert names({"source": "x\0y", "a": "x" * 100_000, "b": "", "c": [".", ":"]}, tmp_path, hashes) == set()
