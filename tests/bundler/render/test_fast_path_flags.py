"""The effect of serving.fast_path on flags, memory and the README."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bundler.render import RenderContext, kubernetes, tf_serving
from tests.bundler.render.conftest import MIB, make_context


def fast(**kubernetes_settings: Any) -> RenderContext:
    """Return the fixture bundle with a model.tflite of 1 MiB for digits and none for minilm."""
    context = make_context(serving={"fast_path": True}, kubernetes=kubernetes_settings)
    digits, minilm = context.models
    figures = {"file": "model.tflite", "size_bytes": MIB, "latency_ms": {"1": 0.25, "2": 0.125}}
    versions = {"digits": {"3": {"fast_path": figures}}, "minilm": {"4": {}}}
    manifest = {"models": {name: {"versions": records} for name, records in versions.items()}}
    return replace(context, models=(replace(digits, fast_path_bytes=MIB), minilm), manifest=manifest)


def test_a_flag_makes_the_server_prefer_tflite() -> None:
    assert "--prefer_tflite_model=true" in tf_serving.server_flags(fast())
    assert not [flag for flag in tf_serving.server_flags(make_context()) if "tflite" in flag]


@pytest.mark.parametrize(("cpu", "pools"), [("1", 2), ("500m", 2), ("3500m", 4), ("6", 6), ("2.5", 3)])
def test_there_is_one_interpreter_per_requested_core_and_at_least_two(cpu: str, pools: int) -> None:
    assert f"--num_tflite_pools={pools}" in tf_serving.server_flags(fast(cpu=cpu))


def test_memory_is_requested_for_the_weights_of_every_interpreter() -> None:
    slow = kubernetes.memory_bytes(make_context())
    # For digits: one served version and one more during a reload, with four interpreters each.
    assert kubernetes.memory_bytes(fast(cpu="4")) - slow == 2 * 4 * MIB


def test_the_readme_lists_which_models_have_a_fast_path() -> None:
    text = tf_serving._readme(fast())
    assert "| digits | 1 MiB | float32 | 0.25 ms |" in text
    assert "| minilm | none; saved_model.pb is served | – | – |" in text
    assert "model.tflite" not in tf_serving._readme(make_context())
