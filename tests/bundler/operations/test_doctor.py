"""The checks of `tfbundle doctor`, and their advice when they fail."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

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
