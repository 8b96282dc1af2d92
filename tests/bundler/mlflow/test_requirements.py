"""The packages that a logged model names: those that run it, and none of those that built it."""

from __future__ import annotations

import pytest

from bundler.mlflow.choice import Choice
from bundler.mlflow.requirements import get_default_pip_requirements, pip_requirements
from bundler.validation.bundle import Bundle
from serving.extras import PACKAGES


def test_runtimes_have_the_releases_of_the_build(shared: Bundle) -> None:
    packages = shared.record("mlp", 1)["build"]["packages"]
    tfbundle, *runtimes = pip_requirements(shared, Choice("mlp", 1))
    assert [tfbundle] == get_default_pip_requirements()
    assert runtimes == [f"tensorflow=={packages['tensorflow']}", f"ai-edge-litert=={packages['ai-edge-litert']}"]


def test_nothing_of_the_build_is_required(shared: Bundle) -> None:
    text = " ".join(pip_requirements(shared, Choice("mlp", 1)))
    assert text.startswith("tfbundle[mlflow,serve]==")
    assert not any(package in text for package in (*PACKAGES["build"], "onnx"))


def test_version_of_an_older_release_pins_no_runtime(shared: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {key: value for key, value in shared.record("mlp", 1).items() if key != "build"}
    monkeypatch.setattr(Bundle, "record", lambda self, model, version: record)
    assert pip_requirements(shared, Choice("mlp", 1)) == get_default_pip_requirements()
