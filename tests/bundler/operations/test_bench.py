"""The request that `tfbundle bench` sends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bundler.errors import UsageError
from bundler.operations.bench import bench_request
from bundler.validation.bundle import Bundle


def test_a_golden_call_of_the_requested_size_is_sent_with_its_answer(small_bundle: Path) -> None:
    request = bench_request(Bundle.open(small_bundle), "mlp", version=1)
    assert (request.model, request.version, request.rows, set(request.outputs)) == ("mlp", 1, 1, {"y"})


def test_a_golden_call_is_resized_and_then_has_no_answer(small_bundle: Path) -> None:
    bundle = Bundle.open(small_bundle)
    request = bench_request(bundle, rows=7)
    assert (request.rows, dict(request.outputs)) == (7, {})
    np.testing.assert_array_equal(request.inputs["x"][0], bench_request(bundle, rows=2).inputs["x"][0])


def test_an_unknown_signature_is_rejected_with_the_known_ones(small_bundle: Path) -> None:
    with pytest.raises(UsageError, match="has no signature 'classify'") as caught:
        bench_request(Bundle.open(small_bundle), signature="classify")
    assert caught.value.fix == "choose one of: serving_default"


def test_a_bundle_of_several_models_needs_a_name(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(small_bundle)
    monkeypatch.setattr(Bundle, "models", lambda _: ["a", "b"])
    with pytest.raises(UsageError, match="The bundle has 2 models") as caught:
        bench_request(bundle)
    assert caught.value.fix == "choose one with --model: a, b"
