"""Tests that need something installed: skipped without it on a developer's machine, failed under CI=true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.requirements import bash, curl, openssl, require, require_package, require_program

TESTS = Path(__file__).parent

OTHER_SKIPS = {
    "bundler/bundle/test_staging.py": "mounting a file system needs root",
    "bundler/cli/test_build.py": "mounting a file system needs root",
    "bundler/operations/test_op_coverage.py": "docs/operators.md is for one version of onnx",
    "bundler/render/kubernetes/test_crds.py": "the library for CEL needs Python 3.11",
    "faults/test_process.py": "/dev/full exists on Linux only",
    "serving/protocol/test_messages.py": "the shipped descriptors are for one version of the packages",
    "serving/server/models/test_versions.py": "/proc exists on Linux only",
    "serving/server/rest_api/test_codec_process.py": "limits of memory are enforced on Linux only",
}
"""Files that skip tests for other reasons than something that is not installed."""


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)


@pytest.fixture
def ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")


def test_missing_program_skips_the_test_locally(local: None) -> None:
    with pytest.raises(pytest.skip.Exception, match=r"not installed: no-such-program \(apt-get install it\)"):
        require_program("no-such-program", install="apt-get install it")
    with pytest.raises(pytest.skip.Exception, match="not installed: no_such_module"):
        require_package("no_such_module", "pip install it")


def test_missing_program_fails_the_test_under_ci(ci: None) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"not installed: a or b \(apt-get install it\)"):
        require_program("a", "b", install="apt-get install it")
    with pytest.raises(pytest.fail.Exception, match="not installed: no_such_module"):
        require_package("no_such_module", "pip install it")


def test_installed_programs_and_packages_are_returned(ci: None) -> None:
    require(True, "anything")
    assert require_package("json.decoder", "").__name__ == "json.decoder"
    assert Path(require_program("no-such-program", "sh", install="")).name == "sh"


@pytest.mark.parametrize("program", [bash, curl, openssl])
def test_shared_programs_fail_under_ci_with_their_package(program: object, ci: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert callable(program)
    with pytest.raises(pytest.fail.Exception, match=rf"not installed: {program.__name__} \(apt-get install "):
        program()


def test_all_skips_for_missing_programs_go_through_require() -> None:
    own_skips = re.compile(r"pytest\.skip\(|mark\.skipif|importorskip")
    files = {path.relative_to(TESTS).as_posix() for path in TESTS.rglob("*.py") if own_skips.search(path.read_text("utf-8"))}
    assert files - {"requirements.py", "test_requirements.py"} == OTHER_SKIPS.keys()
