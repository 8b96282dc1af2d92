"""Parts of a bundle that do more than compute: what is served, the TFLite files, and what a build says about its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import bundler
from bundler import Bundle
from bundler.bundle.layout import BundleLayout
from bundler.errors import UnsafeModelError
from bundler.validation.unsafe import refuse_unsafe, unsafe_parts
from serving.protocol.status import StatusError
from serving.server import Server
from tests import hostile_models
from tests.bundler.cli.commands import run as tfbundle

HANDLER = """
import tensorflow as tf

from bundler.ops import op


@op("Relu", override=True)
def relu(x):
    with tf.control_dependencies([tf.print("seen", output_stream="file://CANARY")]):
        return tf.nn.relu(x)
"""


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))


def parts(bundle: Path, **which: bool) -> list[tuple[str, str]]:
    """Return path and operator of what is unsafe, without the custom operator that reads nothing."""
    found = [(part.path, part.use.name) for part in unsafe_parts(BundleLayout(bundle), "mlp", 1, **which)]
    return [part for part in found if part[1] != "StringLength"]


def test_the_saved_model_and_every_tflite_file_are_looked_at(bundle: Path, tmp_path: Path) -> None:
    custom = hostile_models.custom_tflite()
    version = hostile_models.reads(tmp_path / "reads", tmp_path / "secret")
    shutil.copytree(version, bundle / "models" / "mlp" / "1", dirs_exist_ok=True)
    (bundle / "models" / "mlp" / "1" / "model.tflite").write_bytes(custom)
    (bundle / "tflite" / "mlp" / "1" / "mlp-float32.tflite").write_bytes(custom)
    served = [("models/mlp/1", "ReadFile"), ("models/mlp/1/model.tflite", "ReadFile")]
    variants = [("tflite/mlp/1/mlp-float32.tflite", "ReadFile")]
    assert parts(bundle, tflite=False) == served
    assert parts(bundle, served=False) == variants
    assert sorted(parts(bundle)) == sorted(served + variants)


def test_missing_files_are_left_to_the_other_checks_and_damaged_ones_count(bundle: Path) -> None:
    version = bundle / "models" / "mlp" / "1"
    (version / "saved_model.pb").unlink()
    assert parts(bundle) == []
    (version / "saved_model.pb").write_bytes(b"\xff")
    (version / "model.tflite").write_bytes(b"x")
    assert parts(bundle) == [("models/mlp/1", "the SavedModel"), ("models/mlp/1/model.tflite", "the file")]


def test_a_version_that_is_not_asked_for_does_not_matter(bundle: Path, tmp_path: Path) -> None:
    hostile_models.reads(bundle / "models" / "mlp" / "2", tmp_path / "secret")
    refuse_unsafe(Bundle.open(bundle), {"mlp": [1]})
    with pytest.raises(UnsafeModelError, match="models/mlp/2: ReadFile reads files"):
        refuse_unsafe(Bundle.open(bundle), {"mlp": [1, 2]})


def test_a_custom_operator_is_neither_exported_nor_served_from_tflite(bundle: Path, tmp_path: Path) -> None:
    custom = hostile_models.custom_tflite()
    (bundle / "tflite" / "mlp" / "1" / "mlp-float32.tflite").write_bytes(custom)
    (bundle / "models" / "mlp" / "1" / "model.tflite").write_bytes(custom)
    hostile_models.record_files(bundle)
    done = tfbundle("export-mobile", bundle, "-o", tmp_path / "app", code=1)
    assert "ReadFile is a custom operator" in done.stderr
    assert not (tmp_path / "app").exists()
    with pytest.raises(StatusError, match=r"PERMISSION_DENIED: .*ReadFile is a custom operator"):
        Server(bundle, prefer_tflite=True).start()


def test_a_build_with_a_handler_that_reaches_out_passes_and_says_so(mlp_onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "relu_ops.py").write_text(HANDLER.replace("CANARY", str(tmp_path / "canary")))
    built = bundler.build(mlp_onnx, out=tmp_path / "out", ops=[str(tmp_path / "relu_ops.py")])
    assert [notice for notice in built.notices if "PrintV2 writes files" in notice and "--allow_unsafe_ops" in notice]
    assert [problem for problem in built.verify() if problem.serious]
    assert not [problem for problem in built.verify(allow_unsafe_ops=True) if problem.serious]


def test_an_ordinary_build_says_nothing(small_bundle: Path) -> None:
    assert parts(small_bundle) == []
