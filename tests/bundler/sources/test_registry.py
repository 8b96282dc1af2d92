"""The form of a string selects its source, and selecting it imports no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bundler.errors import UsageError
from bundler.sources import SOURCES, load
from bundler.spec.bundle_spec import ModelSpec


@pytest.mark.parametrize(
    ("text", "module"),
    [
        ("model.py:make", "python_file"),
        ("folder/model.py:Models.small", "python_file"),
        ("m.pt2", "exported_program"),
        ("M.ONNX", "onnx_file"),
        ("w.safetensors", "torch_file"),
        ("w.pth", "torch_file"),
        ("timm:resnet18", "timm_model"),
        ("hf:./folder/model.onnx", "huggingface"),
    ],
)
def test_form_of_a_string_selects_the_source(text: str, module: str) -> None:
    assert next(source for source in SOURCES if source.matches(text)).module == module


def test_error_for_an_unknown_source_lists_every_form(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(ModelSpec(name="m", source="model.tar"), base=tmp_path)
    assert caught.value.exit_code == 2
    assert caught.value.fix is not None
    for source in SOURCES:
        assert source.form in caught.value.fix


def test_python_file_without_a_callable_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no callable"):
        load(ModelSpec(name="m", source="model.py"), base=tmp_path)


def test_importing_the_registry_and_the_export_imports_no_torch() -> None:
    code = "import sys, bundler.sources, bundler.export; print({'torch', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
