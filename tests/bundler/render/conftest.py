"""The bundle of the renderers' tests: two models, several versions, labels."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.render import RenderContext, RenderedModel
from bundler.spec.bundle_spec import parse_spec
from bundler.values.signature import Signature, TensorSpec

MIB = 2**20

DIGITS = Signature(
    (TensorSpec("image", "float32", ("batch", 1, 8, 8)),),
    (TensorSpec("logits", "float32", ("batch", 10)),),
)
MINILM = Signature(
    (
        TensorSpec("input_ids", "int64", ("batch", "seq")),
        TensorSpec("attention_mask", "int64", ("batch", "seq")),
    ),
    (TensorSpec("embedding", "float32", ("batch", 384)),),
)


def make_context(*, name: str = "demo", **sections: Any) -> RenderContext:
    """Return the fixture bundle with the given sections of bundle.yaml."""
    return RenderContext(
        name,
        parse_spec(sections, where="the test"),
        (
            RenderedModel("digits", (1, 2, 3), 2 * MIB, {"serving_default": DIGITS}),
            RenderedModel("minilm", (4,), 90 * MIB, {"serving_default": MINILM}, tolerance=1e-3),
        ),
    )


@pytest.fixture
def context() -> RenderContext:
    """Two models, one of them with three versions and labels on two of these; batching and monitoring are on."""
    return make_context(
        serving={
            "labels": {"digits": {"stable": 1, "canary": 3}},
            "batching": True,
            "max_batch_size": 32,
            "allowed_batch_sizes": [8, 32],
        }
    )


@pytest.fixture
def plain() -> RenderContext:
    """The same models with default settings, except that monitoring is off."""
    return make_context(serving={"monitoring": False})
