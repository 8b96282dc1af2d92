"""Inputs are named after the parameters of `forward` and passed to them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bundler.errors import SourceError, UsageError
from bundler.sources.binding import bind_example, bind_specs, parameters, stable_name
from bundler.values.signature import TensorSpec

X, Y = torch.ones(2, 3), torch.zeros(2, 1)


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


class Plain(nn.Module):
    def forward(self, x: Tensor, scale: float | None = None, mask: Tensor | None = None, *, flag: bool = False) -> None:
        raise NotImplementedError

    def encode(self, x: Tensor) -> None:
        raise NotImplementedError


class One(nn.Module):
    def forward(self, batch: dict[str, Any]) -> None:
        raise NotImplementedError


class Many(nn.Module):
    def forward(self, *states: Tensor) -> None:
        raise NotImplementedError


class Keywords(nn.Module):
    def forward(self, **features: Tensor) -> None:
        raise NotImplementedError


def call(module: nn.Module, example: Any) -> tuple[tuple[str, ...], tuple[Any, ...], dict[str, Any]]:
    binding, tensors = bind_example(parameters(module), example)
    args, kwargs = binding.call([tensors[name] for name in binding.names])
    return binding.names, args, kwargs


def test_a_tensor_is_the_first_parameter() -> None:
    names, args, kwargs = call(Plain(), X)
    assert names == ("x",) and args == () and kwargs["x"] is X


def test_a_numpy_array_becomes_a_tensor() -> None:
    _, _, kwargs = call(Plain(), np.ones((2, 3), np.float32))
    torch.testing.assert_close(kwargs["x"], X)


def test_dict_is_bound_by_name_in_the_order_of_forward() -> None:
    names, _, kwargs = call(Plain(), {"mask": Y, "x": X, "flag": True})
    assert names == ("x", "mask")
    assert list(kwargs) == ["x", "mask", "flag"] and kwargs["flag"] is True


def test_values_other_than_tensors_are_passed_unchanged() -> None:
    names, _, kwargs = call(Plain(), (X, 2.5, Y))
    assert names == ("x", "mask") and kwargs["scale"] == 2.5


def test_dict_that_names_no_parameter_is_the_only_argument() -> None:
    names, _, kwargs = call(One(), {"a": X, "b": {"c": Y, "n": 3}})
    assert names == ("batch.a", "batch.b.c")
    assert kwargs["batch"]["b"]["c"] is Y and kwargs["batch"]["b"]["n"] == 3


def test_tensors_in_lists_are_numbered_and_in_named_tuples_named() -> None:
    names, _, kwargs = call(One(), ([X, Pair(X, Y)],))
    assert names == ("batch_0", "batch_1.first", "batch_1.second")
    assert isinstance(kwargs["batch"][1], Pair)


def test_variadic_positional_parameters_are_numbered() -> None:
    names, args, kwargs = call(Many(), (X, Y))
    assert names == ("states_0", "states_1") and args[1] is Y and kwargs == {}


def test_variadic_keywords_keep_their_names() -> None:
    assert call(Keywords(), {"b": X, "a": Y})[0] == ("b", "a")


@pytest.mark.parametrize("example", [{"nope": X}, (X, 1.0, Y, Y), {}])
def test_error_for_wrong_inputs_lists_the_parameters(example: Any) -> None:
    with pytest.raises(SourceError) as caught:
        call(Plain(), example)
    assert caught.value.fix is not None and "x" in caught.value.fix


def test_example_of_another_type_is_an_error() -> None:
    with pytest.raises(SourceError, match="type int"):
        call(Plain(), 5)


def test_example_without_tensors_is_an_error() -> None:
    with pytest.raises(SourceError, match="no tensor"):
        call(Plain(), (1, 2.0))


def test_specs_are_put_into_the_order_of_forward() -> None:
    specs = [TensorSpec.parse("mask=float32[batch,1]"), TensorSpec.parse("x=float32[batch,3]")]
    binding = bind_specs(parameters(Plain()), specs)
    args, kwargs = binding.call([X, Y])
    assert binding.names == ("x", "mask") and args == () and kwargs["mask"] is Y


def test_variadic_inputs_may_have_any_names() -> None:
    specs = [TensorSpec.parse("left=float32[batch,3]"), TensorSpec.parse("right=float32[batch,1]")]
    binding = bind_specs(parameters(Many()), specs)
    args, _ = binding.call([X, Y])
    assert binding.names == ("left", "right") and args[0] is X and args[1] is Y


def test_spec_that_names_no_parameter_is_an_error() -> None:
    with pytest.raises(SourceError, match="image"):
        bind_specs(parameters(Plain()), [TensorSpec.parse("image=float32[batch,3]")])


def test_error_for_a_missing_method_lists_the_methods() -> None:
    with pytest.raises(UsageError) as caught:
        parameters(Plain(), "decode")
    assert caught.value.fix is not None and "encode" in caught.value.fix


def test_names_are_valid_in_tensorflow() -> None:
    assert [stable_name(n) for n in ("a", "a b:c", "2x", "x/y.z-1")] == ["a", "a_b_c", "_2x", "x/y.z-1"]
