"""Verification of bundles: any damage is found and named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bundler import Bundle
from bundler.bundle.manifest import FileEntry, Manifest
from bundler.errors import VerifyError
from serving.golden.data import Golden


@pytest.fixture
def copy(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "small"))


def flip(path: Path, position: int = -1) -> None:
    """Flip one bit of one byte."""
    data = bytearray(path.read_bytes())
    data[position] ^= 0x01
    path.write_bytes(data)


def serious(root: Path, *, parity: bool = False) -> dict[str, str]:
    return {p.path: p.message for p in Bundle.open(root).verify(parity=parity) if p.serious}


def test_a_fresh_bundle_has_no_problems(small_bundle: Path) -> None:
    assert Bundle.open(small_bundle).verify() == []


def test_a_flipped_byte_in_any_file_is_named(copy: Path) -> None:
    for relative in Manifest.read(copy / "bundle.json").files:
        file = copy / relative
        before = file.read_bytes()
        if not before:
            continue
        flip(file, len(before) // 2)
        found = serious(copy)
        assert list(found) == [relative]
        assert found[relative].startswith("changed")
        file.write_bytes(before)
    assert serious(copy) == {}


def test_a_flipped_byte_in_bundle_json_is_named(copy: Path) -> None:
    for position in (0, 100, -1):
        before = (copy / "bundle.json").read_bytes()
        flip(copy / "bundle.json", position)
        with pytest.raises(VerifyError, match=r"bundle\.json"):
            Bundle.open(copy)
        (copy / "bundle.json").write_bytes(before)


def test_missing_cut_and_unknown_files_are_named(copy: Path) -> None:
    (copy / "golden" / "mlp" / "1.npz").unlink()
    onnx = copy / "onnx" / "mlp" / "1.onnx"
    onnx.write_bytes(onnx.read_bytes()[:-1])
    (copy / "models" / "mlp" / "1" / "extra").write_text("x")
    (copy / "k8s" / "mine.yaml").write_text("x")
    found = serious(copy)
    assert found == {
        "golden/mlp/1.npz": "missing",
        "onnx/mlp/1.onnx": f"changed: {onnx.stat().st_size} bytes instead of {onnx.stat().st_size + 1}",
        "models/mlp/1/extra": "not part of the bundle",
    }
    notes = [p for p in Bundle.open(copy).verify(parity=False) if not p.serious]
    assert [(p.path, p.message) for p in notes] == [("k8s/mine.yaml", "not part of the bundle")]


def test_wrong_outputs_are_found_even_if_every_hash_matches(copy: Path) -> None:
    """The golden data and bundle.json are changed consistently: only running the model shows the difference."""
    file = copy / "golden" / "mlp" / "1.npz"
    golden = Golden.load(file)
    case = golden.cases[0]
    case.outputs["y"] = case.outputs["y"] + np.float32(0.1)
    golden.save(file)
    manifest = Manifest.read(copy / "bundle.json")
    files = {**manifest.files, "golden/mlp/1.npz": FileEntry.of(file)}
    (copy / "bundle.json").write_bytes(
        Manifest(manifest.spec, manifest.models, files, manifest.tools).to_bytes()
    )
    assert serious(copy) == {}
    found = serious(copy, parity=True)
    assert list(found) == ["models/mlp/1"]
    assert f"draw {case.name}: output 'y'" in found["models/mlp/1"]
