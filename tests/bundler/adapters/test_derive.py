"""Derived signatures."""

from __future__ import annotations

from typing import Any

import pytest

from bundler.adapters.derive import PREDICT, DerivedSignature, derive
from bundler.errors import UsageError
from bundler.spec.bundle_spec import ModelSpec
from bundler.values.signature import Signature, TensorSpec


class Add:
    """An adapter that adds a number to its input."""

    method = "tensorflow/serving/classify"

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, tensors: dict[str, int]) -> dict[str, int]:
        return {name: 10 * value + self.number for name, value in tensors.items()}


def derived(input_name: str, output_adapter: Any = None) -> DerivedSignature:
    signature = Signature((TensorSpec(input_name, "string", ("batch",)),), ())
    adapters: Any = (Add(1), Add(2))
    return DerivedSignature("s", "serving_default", signature, adapters, output_adapter)


def test_input_adapters_run_from_the_outermost_to_the_innermost() -> None:
    assert derived("inputs").to_base_inputs({"x": 0}) == {"x": 12}


def test_outputs_pass_through_without_an_output_adapter() -> None:
    assert derived("inputs").from_base_outputs({"y": 5}) == {"y": 5}
    assert derived("inputs", Add(3)).from_base_outputs({"y": 5}) == {"y": 53}


def test_only_signatures_that_take_examples_have_the_method_of_their_output_adapter() -> None:
    assert derived("inputs", Add(3)).method == Add.method
    assert derived("image_bytes", Add(3)).method == PREDICT
    assert derived("inputs").method == PREDICT


def test_converter_without_derived_signatures_is_an_error() -> None:
    model = ModelSpec(name="m", source="m.py:make", labels=("a", "b"), converter="onnx-tf")
    with pytest.raises(UsageError, match="onnx-tf cannot build the signatures classify"):
        derive(model, (), object(), None)  # type: ignore[arg-type]
