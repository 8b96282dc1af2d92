"""Interfaces of torch that are not public: refusals and fallbacks for releases that lack them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bundler.errors import ExportError
from bundler.export import torch_interfaces
from bundler.export.failure import explain
from tests.bundler.exporting import Net, export_module


@pytest.fixture
def unchecked() -> Iterator[None]:
    torch_interfaces.check.cache_clear()
    yield
    torch_interfaces.check.cache_clear()


@pytest.mark.parametrize(("module", "name"), [("torch.onnx.ops", "no_such_function"), ("torch.no_such_module", "export")])
def test_a_missing_interface_is_refused_with_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchecked: None, module: str, name: str
) -> None:
    monkeypatch.setattr(torch_interfaces, "REQUIRED", ((module, name),))
    with pytest.raises(ExportError, match=f"torch {torch.__version__.replace('+', '.')} has no {module}.{name}") as caught:
        export_module(Net(), tmp_path, torch.ones(2, 3))
    assert caught.value.fix == "pip install 'torch>=2.8' 'onnxscript>=0.6'"


@pytest.mark.parametrize(
    ("script", "ir", "fits"), [("0.6.2", "1.0.0", False), ("0.6.2", "0.2.1", True), ("0.7.0", "1.1.0", True)]
)
def test_an_onnxscript_that_does_not_fit_onnx_ir_is_refused(
    monkeypatch: pytest.MonkeyPatch, unchecked: None, script: str, ir: str, fits: bool
) -> None:
    monkeypatch.setattr(torch_interfaces, "version", {"onnxscript": script, "onnx-ir": ir}.__getitem__)
    if fits:
        torch_interfaces.check()
        return
    with pytest.raises(ExportError, match=r"onnxscript 0\.6\.2 cannot write models with onnx-ir 1\.0\.0") as caught:
        torch_interfaces.check()
    assert caught.value.fix == "pip install 'onnxscript>=0.7'"


@pytest.mark.compat
def test_this_release_has_every_required_interface(unchecked: None) -> None:
    torch_interfaces.check()


def test_a_while_loop_that_torch_cannot_write_is_named_with_the_release_that_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch 2.8 to 2.10 raise this TypeError for the result of the loop's condition."""
    monkeypatch.chdir(tmp_path)
    error = explain(TypeError("'Node' object is not iterable"), "Iterate", ["x"], tmp_path, "")
    assert "torch before 2.11 cannot write while_loop" in str(error)
    assert error.fix is not None and error.fix.startswith("pip install 'torch>=2.11'")


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("release", "order", "answer"),
    [
        ("3.8.0", "", "triton was imported"),
        ("3.8.0", "triton tensorflow", "triton was imported"),
        ("3.7.1", "tensorflow", "left to torch"),
        ("3.8.0", "tensorflow", "triton 3.8.0 would crash Python, because TensorFlow has been imported before it."),
    ],
)
def test_triton_is_imported_before_tensorflow(tmp_path: Path, release: str, order: str, answer: str) -> None:
    for name in ("triton", "tensorflow"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    metadata = tmp_path / f"triton-{release}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: triton\nVersion: {release}\n")
    code = f"""
import importlib, sys
for name in {order.split()}:
    importlib.import_module(name)
from bundler.errors import ExportError
from bundler.export.torch_interfaces import import_triton
try:
    import_triton()
    print("triton was imported" if "triton" in sys.modules else "left to torch")
except ExportError as exc:
    print(exc.what)
"""
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == answer


def test_an_operator_without_a_cache_is_left_alone() -> None:
    cached: Any = SimpleNamespace(_dispatch_cache={"CPU": 1})
    torch_interfaces.clear_dispatch_cache(cached)
    assert not cached._dispatch_cache
    without: Any = SimpleNamespace()
    torch_interfaces.clear_dispatch_cache(without)


def test_the_table_of_operators_is_read_once_and_custom_operators_stay_out_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Any = importlib.import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
    made = []
    original = vars(registry)["from_torchlib"]
    monkeypatch.setattr(torch_interfaces, "_operator_tables", {})

    def counted(cls: Any, *args: Any, **kwargs: Any) -> Any:
        made.append((args, kwargs))
        return original.__func__(cls, *args, **kwargs)

    monkeypatch.setattr(registry, "from_torchlib", classmethod(counted))
    target = torch.ops.aten.relu.default
    with torch_interfaces.operators_read_once():
        first, second = (registry.from_torchlib(opset_version=20) for _ in range(2))
        own = len(first.get_decomps(target))
        first.register_op(target, lambda x: x)
        assert len(first.get_decomps(target)) == own + 1
        assert len(second.get_decomps(target)) == own == len(registry().from_torchlib(opset_version=20).get_decomps(target))
        assert registry.from_torchlib(opset_version=18).opset_version == 18
    assert [kwargs["opset_version"] for _, kwargs in made] == [20, 18]
    assert vars(registry)["from_torchlib"].__func__ is counted


def test_a_release_without_the_table_makes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_module(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(torch_interfaces, "importlib", SimpleNamespace(import_module=no_module))
    with torch_interfaces.operators_read_once():
        assert torch.onnx.export(Net().eval(), (torch.ones(2, 3),), dynamo=True, verbose=False) is not None
