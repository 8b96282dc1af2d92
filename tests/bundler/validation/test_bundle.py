"""Bundles on disk: what they tell, and that any damage is found and named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bundler import Bundle
from bundler.bundle.layout import BundleLayout
from bundler.bundle.manifest import FileEntry, Manifest
from bundler.errors import VerifyError
from serving.golden.data import Golden


@pytest.fixture
def copy(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "small"))


def flip(path: Path, position: int = -1) -> None:
    """Change one bit of one byte."""
    data = bytearray(path.read_bytes())
    data[position] ^= 0x01
    path.write_bytes(data)


def serious(root: Path, *, parity: bool = False) -> dict[str, str]:
    return {p.path: p.message for p in Bundle.open(root).verify(parity=parity) if p.serious}


def test_a_fresh_bundle_is_what_was_built(small_bundle: Path) -> None:
    assert Bundle.open(small_bundle).verify() == []


def test_it_tells_what_is_in_it(small_bundle: Path) -> None:
    bundle = Bundle.open(str(small_bundle))
    assert (bundle.name, bundle.models(), bundle.versions("mlp")) == ("small", ["mlp"], [1])
    signature = bundle.signatures("mlp")["serving_default"]
    assert [str(spec) for spec in signature.inputs] == ["x=float32[batch,4]"]
    assert [str(spec) for spec in signature.outputs] == ["y=float32[batch,3]"]
    record = bundle.record("mlp")
    assert record["opset"] == 18
    assert record["parity"]["passed"] is True
    assert (
        record["tflite"]["float32"]["size_bytes"]
        == bundle.manifest.files["tflite/mlp/1/mlp-float32.tflite"].size
    )
    assert set(record["stages"]) == {"load", "export", "convert", "saved_model", "tflite", "parity"}
    facts = bundle.inspect()
    assert facts["models"]["mlp"]["latest"] == 1
    assert facts["files"] == len(bundle.manifest.files)
    assert "mlp [1]" in repr(bundle)


def test_asking_for_what_is_not_there(small_bundle: Path) -> None:
    bundle = Bundle.open(small_bundle)
    with pytest.raises(VerifyError, match="no model 'other'"):
        bundle.versions("other")
    with pytest.raises(VerifyError, match="no version 9"):
        bundle.record("mlp", 9)


def test_every_version_has_its_parts(small_bundle: Path) -> None:
    layout = BundleLayout(small_bundle)
    for path in (
        layout.version_dir("mlp", 1) / "saved_model.pb",
        layout.warmup("mlp", 1),
        layout.onnx_file("mlp", 1),
        layout.golden_file("mlp", 1),
        layout.tflite_file("mlp", 1, "float32"),
        layout.serving_dir / "models.config",
        layout.k8s_dir / "base" / "kustomization.yaml",
        layout.docker_dir / "Dockerfile",
        layout.smoke_dir / "smoke_test.py",
        layout.report,
    ):
        assert path.is_file(), path


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


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(VerifyError, match="is not a bundle"):
            Bundle.open(path)


def test_other_answers_than_pytorchs_are_found_when_every_hash_fits(copy: Path) -> None:
    """Golden data with another answer, and a bundle.json made to fit: only asking the model shows it."""
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
