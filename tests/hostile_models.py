"""SavedModels that reach for the world outside: each reads or writes a file when it is loaded, or when it is called."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import tensorflow as tf

from bundler.bundle.manifest import Manifest, files_under, hash_files
from serving.protocol.messages import message

_BATCH = tf.TensorSpec([None], tf.float32, name="x")


class _Computes(tf.Module):
    """A signature from x to y that calls a function of the test, too."""

    def __init__(self, effect: Callable[[tf.Tensor], Any], variable: bool = True) -> None:
        super().__init__()
        self.effect = effect
        if variable:
            self.factor = tf.Variable(2.0)

    @tf.function(input_signature=[_BATCH])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        answer = self.effect(x)
        factor = self.factor if hasattr(self, "factor") else 2.0
        return {"y": x * factor, **({"z": answer} if isinstance(answer, tf.Tensor) else {})}


def save(folder: Path, effect: Callable[[tf.Tensor], Any] = lambda x: None, *, variable: bool = True) -> Path:
    """Save a SavedModel whose signature computes y = 2 x and has an effect; the default has none."""
    module = _Computes(effect, variable)
    tf.saved_model.save(module, str(folder), signatures=module.serve)
    return folder


def edit(folder: Path, change: Callable[[Any], None]) -> Path:
    """Change the SavedModel message of a folder in place."""
    file = folder / "saved_model.pb"
    saved = message("tensorflow.SavedModel").FromString(file.read_bytes())
    change(saved)
    file.write_bytes(saved.SerializeToString())
    return folder


def reads(folder: Path, secret: Path) -> Path:
    """Save a SavedModel that answers with the content of a file."""
    return save(folder, lambda x: tf.io.read_file(str(secret)))


def writes(folder: Path, canary: Path) -> Path:
    """Save a SavedModel that writes a file when it is called."""
    return save(folder, lambda x: tf.io.write_file(str(canary), "written"))


def writes_on_load(folder: Path, canary: Path) -> Path:
    """Save a SavedModel that writes a file while it is loaded, in the initializer of a table."""

    class Initializer(tf.lookup.KeyValueTensorInitializer):
        def initialize(self, table: Any) -> Any:
            with tf.control_dependencies([tf.io.write_file(str(canary), "written")]):
                return super().initialize(table)

    module = _Computes(lambda x: None)
    module.table = tf.lookup.StaticHashTable(Initializer(["a"], [1.0]), 0.0)
    canary.unlink(missing_ok=True)
    tf.saved_model.save(module, str(folder), signatures=module.serve)
    return folder


def prints(folder: Path, canary: Path) -> Path:
    """Save a SavedModel that prints its input into a file."""
    return save(folder, lambda x: tf.print(x, output_stream=f"file://{canary}"))


def calls_python(folder: Path) -> Path:
    """Save a SavedModel that calls a Python function."""
    return save(folder, lambda x: tf.py_function(lambda value: value, [x], tf.float32))


def bundle_with(bundle: Path, copy: Path, model: Path) -> Path:
    """Copy the small bundle with another SavedModel in the place of its own; bundle.json records the files as they are then."""
    shutil.copytree(bundle, copy)
    version = copy / "models" / "mlp" / "1"
    shutil.rmtree(version)
    shutil.copytree(model, version)
    record_files(copy)
    return copy


def record_files(bundle: Path) -> None:
    """Let bundle.json record all files as they are now, as whoever makes a bundle can."""
    manifest = Manifest.read(bundle / "bundle.json")
    files = [path for path in files_under(bundle) if path.name not in ("bundle.json", ".lock")]
    (bundle / "bundle.json").write_bytes(replace(manifest, files=hash_files(bundle, files)).to_bytes())


@cache
def custom_tflite() -> bytes:
    """Return a .tflite file with a custom operator, ReadFile, whose code a plugin would have to bring."""

    @tf.function(input_signature=[tf.TensorSpec([2], tf.float32)])
    def read(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.strings.length(tf.io.read_file("/etc/hostname")), x

    converter = tf.lite.TFLiteConverter.from_concrete_functions([read.get_concrete_function()])
    converter.allow_custom_ops = True
    content: bytes = converter.convert()
    return content
