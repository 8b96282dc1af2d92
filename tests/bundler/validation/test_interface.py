"""Which changes of a signature break the clients of the version in service."""

from __future__ import annotations

import pytest

from bundler.validation.interface import incompatibilities
from bundler.values.signature import Signature, TensorSpec


def signature(inputs: str, outputs: str) -> Signature:
    return Signature(*(tuple(TensorSpec.parse(text) for text in side.split("; ")) for side in (inputs, outputs)))


OLD = {"serving_default": signature("x=float32[batch,4]", "y=float32[batch,3]")}


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ("x=float32[batch,4]", "y=float32[batch,3]"),
        ("x=float32[n,seq]", "y=float32[n,5]; z=int64[n]"),
    ],
)
def test_wider_inputs_and_further_outputs_are_compatible(inputs: str, outputs: str) -> None:
    new = {"serving_default": signature(inputs, outputs), "embed": signature(inputs, outputs)}
    assert list(incompatibilities(OLD, new)) == []


@pytest.mark.parametrize(
    ("inputs", "outputs", "problem"),
    [
        ("z=float32[batch,4]", "y=float32[batch,3]", "serving_default has no input 'x' any more"),
        ("x=float64[batch,4]", "y=float32[batch,3]", "the input x=float32[batch,4] of serving_default is x=float64[batch,4] now"),
        ("x=float32[1,4]", "y=float32[batch,3]", "is x=float32[1,4] now"),
        ("x=float32[batch,5]", "y=float32[batch,3]", "is x=float32[batch,5] now"),
        ("x=float32[batch,4,1]", "y=float32[batch,3]", "is x=float32[batch,4,1] now"),
        ("x=float32[batch,4]; m=bool[batch]", "y=float32[batch,3]", "serving_default has the further input m=bool[batch]"),
        ("x=float32[batch,4]", "z=float32[batch,3]", "serving_default has no output 'y' any more"),
        ("x=float32[batch,4]", "y=float64[batch,3]", "the output y=float32[batch,3] of serving_default is y=float64"),
        ("x=float32[batch,4]", "y=float32[batch]", "the output y=float32[batch,3] of serving_default is y=float32[batch] now"),
    ],
)
def test_changes_that_break_clients_are_named(inputs: str, outputs: str, problem: str) -> None:
    assert problem in "; ".join(incompatibilities(OLD, {"serving_default": signature(inputs, outputs)}))


def test_a_signature_that_is_gone_is_named() -> None:
    assert list(incompatibilities({**OLD, "embed": OLD["serving_default"]}, OLD)) == ["the signature 'embed' is gone"]
