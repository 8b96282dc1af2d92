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


def test_a_missing_requirement_is_a_problem_and_a_missing_extra_is_not() -> None:
    required = doctor._required("no-such-distribution", "no_such_module")
    assert (required.status, required.fix) == ("problem", "pip install no-such-distribution")
    extra = doctor._optional("no-such-distribution", "nothing", "pip install it")
    assert (extra.status, extra.detail) == ("optional", "not installed; needed for nothing")


def test_a_package_that_cannot_be_imported_is_a_problem() -> None:
    broken = doctor._required("numpy", "numpy.no_such_module")
    assert broken.status == "problem"
    assert "importing it fails: No module named 'numpy.no_such_module'" in broken.detail
    assert str(broken.fix).startswith("pip install --force-reinstall numpy==")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An onnx-tf that tfbundle setup has installed, and that cannot be imported."""
    monkeypatch.setenv(onnx_tf_package.CACHE_ENV, str(tmp_path))
    folder = onnx_tf_package.setup_folder() / "onnx_tf"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("import no_such_module")
    return folder.parent


def test_a_missing_onnx_tf_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(onnx_tf_package.CACHE_ENV, str(tmp_path))
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


def test_the_small_build_succeeds() -> None:
    finding = doctor._attempt("a small build", doctor._small_build)
    assert finding.status == "ok", finding
    assert finding.detail.startswith("built and verified a bundle with TFLite")
