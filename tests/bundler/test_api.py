"""The public interface of the package, and what importing it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import bundler
from bundler.errors import SpecError, UsageError
from bundler.spec.build_options import BuildOptions

HEAVY = ("torch", "tensorflow", "onnx", "onnxruntime", "onnxscript", "transformers", "timm")


def loaded_by(code: str, *names: str) -> list[str]:
    """Return which of the modules are imported in a fresh process after it ran the code."""
    check = f"\nimport sys\nprint([name for name in {names!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code) + check],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return list(eval(done.stdout))


def test_the_package_exports_exactly_the_public_names() -> None:
    assert bundler.__all__ == ["Bundle", "__version__", "build", "convert", "errors"]
    assert dir(bundler) == sorted(bundler.__all__)
    for name in bundler.__all__:
        assert getattr(bundler, name) is not None
    assert not hasattr(bundler, "no_such_name")


def test_importing_the_packages_imports_nothing_heavy() -> None:
    assert loaded_by("import bundler, serving", *HEAVY, "pydantic", "numpy") == []


def test_build_and_bundle_are_not_shadowed_by_submodules() -> None:
    code = """
        import bundler.bundle, bundler.pipeline
        from bundler.pipeline import build_bundle
        import bundler
        assert callable(bundler.build) and callable(build_bundle)
        assert isinstance(bundler.Bundle, type)
    """
    assert loaded_by(code, "tensorflow", "torch") == []


def test_signatures_of_the_public_functions() -> None:
    build = inspect.signature(bundler.build).parameters
    own = ["source", "example_inputs", "out", "version", "progress", "evaluate"]
    assert list(build) == [*own, *BuildOptions.__annotations__, "adopt", "dynamic_shapes"]
    assert {"name", "tflite", "ops", "gate", "dims", "tolerance"} <= set(BuildOptions.__annotations__)
    assert list(inspect.signature(bundler.convert).parameters) == ["model", "layout", "ops"]


def test_empty_options_count_as_not_given(tmp_path: Path) -> None:
    """A bundle.yaml takes no options, but callers may pass their own empty defaults on."""
    spec = tmp_path / "bundle.yaml"
    spec.write_text("models: []\n")
    with pytest.raises(UsageError, match="no model to build"):
        bundler.build(spec, name=None, tflite=(), ops=(), gate=None)
    with pytest.raises(UsageError, match=r"not allowed with a bundle\.yaml: ops, tflite"):
        bundler.build(spec, tflite=("int8",), ops=Path("my_ops.py"))


def test_convert_checks_its_options_before_any_work() -> None:
    with pytest.raises(SpecError, match="layout: 'nchw' is not one of keep, nhwc"):
        bundler.convert("absent.onnx", layout="nchw")  # type: ignore[arg-type]


@pytest.mark.slow
def test_type_checkers_know_the_keywords_of_build(tmp_path: Path) -> None:
    code = tmp_path / "user.py"
    code.write_text(
        "import bundler\n"
        "bundler.build('a.onnx', layout='nhwc', tflite=('int8',), dims={'seq': 64}, ops='my_ops.py', gate=None)\n"
        "bundler.build('a.onnx', layout='nchw')\n"
        "bundler.build('a.onnx', tolerence=1)\n"
    )
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", "--ignore-missing-imports", str(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    lines = [line for line in done.stdout.splitlines() if "user.py" in line and " error: " in line]
    assert [line.split(":")[1] for line in lines] == ["3", "4"], done.stdout + done.stderr
    assert "tolerence" in lines[1]


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert bundler.__version__ == version("tfbundle")
