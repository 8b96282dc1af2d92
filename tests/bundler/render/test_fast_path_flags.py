"""What serving.fast_path changes in flags, memory and the README."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bundler.render import RenderContext, kubernetes, tf_serving
from tests.bundler.render.conftest import MIB, make_context


def fast(**kubernetes_settings: Any) -> RenderContext:
    """The fixture bundle, digits with a model.tflite of 1 MiB, minilm without."""
    context = make_context(serving={"fast_path": True}, kubernetes=kubernetes_settings)
    digits, minilm = context.models
    figures = {"file": "model.tflite", "size_bytes": MIB, "latency_ms": {"1": 0.25, "2": 0.125}}
    versions = {"digits": {"3": {"fast_path": figures}}, "minilm": {"4": {}}}
    manifest = {"models": {name: {"versions": records} for name, records in versions.items()}}
    return replace(context, models=(replace(digits, fast_path_bytes=MIB), minilm), manifest=manifest)


def test_the_server_is_told_to_prefer_it() -> None:
    assert "--prefer_tflite_model=true" in tf_serving.server_flags(fast())
    assert not [flag for flag in tf_serving.server_flags(make_context()) if "tflite" in flag]


@pytest.mark.parametrize(("cpu", "pools"), [("1", 2), ("500m", 2), ("3500m", 4), ("6", 6), ("2.5", 3)])
def test_there_is_an_interpreter_for_each_core_that_a_pod_asks_for(cpu: str, pools: int) -> None:
    assert f"--num_tflite_pools={pools}" in tf_serving.server_flags(fast(cpu=cpu))


def test_memory_is_asked_for_the_weights_of_every_interpreter() -> None:
    slow = kubernetes.memory_bytes(make_context())
    # digits: one version served and one that is loaded beside it, four interpreters each
    assert kubernetes.memory_bytes(fast(cpu="4")) - slow == 2 * 4 * MIB


def test_the_readme_says_which_models_have_one() -> None:
    text = tf_serving._readme(fast())
    assert "| digits | 1 MiB | 0.25 ms |" in text
    assert "| minilm | none; saved_model.pb is served | – |" in text
    assert "model.tflite" not in tf_serving._readme(make_context())
