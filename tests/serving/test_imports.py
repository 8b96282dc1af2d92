"""Imports that run inside a context, and TensorFlow without Keras."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.imports import import_inside


def test_the_first_import_runs_inside_every_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "costly_package.py").write_text("VALUE = 1")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    events: list[str] = []

    @contextmanager
    def outer() -> Iterator[None]:
        events.append("enter outer")
        yield
        events.append("leave outer")

    @contextmanager
    def inner() -> Iterator[None]:
        events.append("enter inner")
        yield
        events.append("leave inner")

    for context in (inner, outer, outer):
        import_inside("costly_package", context)
    import costly_package  # type: ignore[import-not-found]

    assert costly_package.VALUE == 1
    assert events == ["enter outer", "enter inner", "leave inner", "leave outer"]
    monkeypatch.delitem(sys.modules, "costly_package")


IMPORT = "import sys; from serving.imports import leave_keras_out; leave_keras_out(); import tensorflow as tf;"


@pytest.mark.parametrize(
    "use", ["", pytest.param("tf.keras.layers.Dense(1); assert 'keras' in sys.modules", marks=pytest.mark.slow)]
)
def test_tensorflow_is_imported_without_keras_which_still_works(use: str) -> None:
    code = f"{IMPORT} assert 'keras' not in sys.modules; {use}"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
