"""The public interface of the package, and what importing it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap

import bundler

HEAVY = ("torch", "tensorflow", "onnx", "onnxruntime", "onnxscript", "transformers", "timm")


def loaded_by(code: str, *names: str) -> list[str]:
    """Which of the modules a fresh process has after running the code."""
    check = f"\nimport sys\nprint([name for name in {names!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code) + check],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return list(eval(done.stdout))


def test_the_exported_members_are_these() -> None:
    assert bundler.__all__ == ["Bundle", "__version__", "build", "convert", "errors"]
    assert dir(bundler) == sorted(bundler.__all__)
    for name in bundler.__all__:
        assert getattr(bundler, name) is not None
    assert not hasattr(bundler, "no_such_name")


def test_importing_is_light() -> None:
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
    assert list(build)[:3] == ["source", "example_inputs", "out"]
    assert {"name", "version", "tflite", "ops", "progress", "evaluate"} <= set(build)
    assert list(inspect.signature(bundler.convert).parameters) == ["model", "layout", "ops"]


def test_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert bundler.__version__ == version("tfbundle")
