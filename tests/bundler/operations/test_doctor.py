"""The checks of `tfbundle doctor`, and their advice when they fail."""

from __future__ import annotations

import shutil
import socket
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from bundler.converters import onnx_tf, onnx_tf_package
from bundler.errors import TfbundleError
from bundler.operations import doctor
from bundler.process.cache import CACHE_ENV


def test_a_missing_requirement_is_a_problem_and_a_missing_extra_is_not() -> None:
    required = doctor._required("no-such-distribution", "no_such_module", "pip install no-such-distribution")
    assert (required.status, required.fix) == ("problem", "pip install no-such-distribution")
    extra = doctor._optional("no-such-distribution", "nothing", "pip install it")
    assert (extra.status, extra.detail) == ("optional", "not installed; needed for nothing")


def test_a_package_that_cannot_be_imported_is_a_problem() -> None:
    broken = doctor._required("numpy", "numpy.no_such_module", "pip install numpy")
    assert broken.status == "problem"
    assert "importing it fails: No module named 'numpy.no_such_module'" in broken.detail
    assert str(broken.fix).startswith("pip install --force-reinstall numpy==")


def install(folder: Path, name: str, number: str, *files: str) -> None:
    """Write the metadata of a distribution, as pip does."""
    info = folder / f"{name.replace('-', '_')}-{number}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
    for file in files:
        (folder / file).touch()  # the importlib_metadata of PyPI, if something has imported it, leaves missing files out
    (info / "RECORD").write_text("".join(f"{file},,2000000000\n" for file in files))


@pytest.mark.parametrize("torch", ["9.9.1", "9.9.1+cpu"])
def test_nvidia_packages_on_a_machine_without_a_gpu_are_named_with_the_way_to_the_cpu_build(
    torch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "nvidia-cudnn-cu12", "9.1", "cudnn.so")
    install(tmp_path, "triton", "3.0")
    install(tmp_path, "torch", torch)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(doctor, "has_gpu", lambda: True)
    assert list(doctor._nvidia()) == []
    monkeypatch.setattr(doctor, "has_gpu", lambda: False)
    (finding,) = doctor._nvidia()
    assert finding.status == "optional"
    assert finding.detail.startswith("2 packages, 2.0 GB, on a machine without an NVIDIA GPU")
    assert str(finding.fix).startswith("to free the space: pip uninstall -y nvidia-cudnn-cu12 triton")
    pip = "pip install --force-reinstall --no-deps torch==9.9.1 --index-url https://download.pytorch.org/whl/cpu"
    assert (pip in str(finding.fix)) == (torch == "9.9.1")
    assert ("--torch-backend cpu" in str(finding.fix)) == (torch == "9.9.1")


def test_extras_that_are_not_installed_are_no_problem_and_half_installed_ones_are(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = {"tensorflow", "ai_edge_litert", "onnx", "onnx_ir", "onnxruntime", "torch", "onnxscript", "safetensors"}
    monkeypatch.setattr(doctor, "is_installed", lambda module: module not in absent)
    findings = list(doctor._parts())
    assert [finding.name for finding in findings] == ["tfbundle[serve]", "tfbundle[onnx]", "tfbundle[build]"]
    assert {finding.status for finding in findings} == {"optional"}
    assert findings[2].fix == "pip install 'tfbundle[build]'"
    monkeypatch.setattr(doctor, "is_installed", lambda module: module not in {"onnx", "aiohttp"})
    monkeypatch.setitem(doctor.PACKAGES, "serve", {"no-such-distribution": "aiohttp"})
    half, *others = doctor._parts()
    assert (half.status, half.fix) == ("problem", "pip install 'tfbundle[serve]'")
    assert [finding.name for finding in others] == ["tfbundle[onnx]", "tfbundle[build]"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An onnx-tf that tfbundle setup has installed, and that cannot be imported."""
    monkeypatch.setenv(CACHE_ENV, str(tmp_path))
    folder = onnx_tf_package.setup_folder() / "onnx_tf"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("import no_such_module")
    return folder.parent


def test_a_missing_onnx_tf_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_ENV, str(tmp_path))
    monkeypatch.setattr(onnx_tf_package, "version", _not_installed)
    missing = doctor._onnx_tf(import_it=True)
    assert (missing.status, missing.fix) == ("optional", "tfbundle setup onnx-tf")


def test_onnx_tf_is_named_with_its_version_and_folder(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = doctor._onnx_tf(import_it=False)
    assert (finding.status, finding.detail) == ("ok", f"1.10.0 in {package}, for --converter onnx-tf")
    monkeypatch.setattr(onnx_tf, "check_import", lambda: None)
    assert doctor._onnx_tf(import_it=True).detail.startswith(f"{finding.detail} (imported in 0.0 s)")


@pytest.mark.slow
def test_an_onnx_tf_that_cannot_be_imported_is_a_problem(package: Path) -> None:
    broken = doctor._onnx_tf(import_it=True)
    assert (broken.status, broken.fix) == ("problem", "tfbundle setup onnx-tf")
    assert broken.detail.startswith(f"1.10.0 in {package}. onnx-tf cannot be imported: ModuleNotFoundError")


def _not_installed(name: str) -> str:
    raise PackageNotFoundError(name)


def test_a_port_in_use_is_reported() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        number = taken.getsockname()[1]
        finding = doctor._port(number, "gRPC")
    assert (finding.status, finding.fix) == ("optional", "use another gRPC port when you serve")
    assert doctor._port(number, "gRPC").status == "ok"


def test_a_full_disk_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert doctor._disk(tmp_path).name == "disk"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3 * 10**8))
    finding = doctor._disk(tmp_path)
    assert (finding.status, finding.detail) == ("problem", f"0.3 GB free in {tmp_path}")


def test_a_failing_build_is_a_problem_with_its_own_advice() -> None:
    def fail() -> str:
        raise TfbundleError("no", fix="do it")

    assert doctor._attempt("a small build", fail) == doctor.Finding("a small build", "problem", "no", "do it")


@pytest.mark.slow
def test_the_small_build_succeeds() -> None:
    finding = doctor._attempt("a small build", doctor._small_build)
    assert finding.status == "ok", finding
    assert finding.detail.startswith("built and verified a bundle with TFLite")
